"""The results as a Markdown page and as a chart."""

from pathlib import Path
from statistics import median

from matplotlib.figure import Figure

from .cells import ms, ratio, spread, table
from .growth import CLASSES, DETECTIONS, OBJECTS, OUTPUTS, SHORT_SIDES
from .modern_report import rtmdet_section, wrapper_section
from .options import PLAIN
from .paper import BASE, ROWS
from .stages import ENCODING, MASKS, PASTING, STAGES
from .subjects import CANDIDATES, FEWER_CANDIDATES, INSTANCES
from .throughput_report import (
    compiled_section,
    runtimes_section,
    throughput_section,
)

RETINANET, SPRNET = 'RetinaNet', 'SPRNet-GFPN'
SETTING = (
    f'Each model has random weights and returns {INSTANCES} instances at the '
    "picture's size, 427x640. It selects them among "
    f'{CANDIDATES} candidates that exceed its score threshold'
    + ''.join(f' ({name}: {n})' for name, n in FEWER_CANDIDATES.items())
    + '.'
)


def latency_section(results: dict) -> list[str]:
    """Time of an image."""
    times = results['latency']
    batches = results.get('batches', {})
    bases = [name for name in (RETINANET, SPRNET) if name in times]
    rows = [
        [name, ms(median(rounds)), spread(rounds)]
        + [ratio(rounds, times[base]) for base in bases]
        + [f'{1 / median(rounds):.2f}']
        + [
            f'{int(size) / median(batch[name]):.2f}' if name in batch else ''
            for size, batch in batches.items()
        ]
        for name, rounds in times.items()
    ]
    head = ['model', 'ms', 'range', *(f'time ({base} = 1)' for base in bases)]
    head += ['images/s', *(f'images/s at batch {n}' for n in batches)]
    count = len(next(iter(times.values())))
    return [
        '## Time per image, from picture to results',
        f'Batch 1, {count} rounds in turns; medians of the times, and of the '
        'ratios within each round.',
        table(head, rows),
    ]


def stages_section(results: dict) -> list[str]:
    """Time of each stage."""
    rows = [
        [name, *(ms(stages[stage]) for stage in STAGES)]
        for name, stages in results['stages'].items()
    ]
    return [
        '## Time by stage (ms)',
        'The times above do not include RLE. SOLOv2 detects objects with its '
        'mask head; SOLOv2 and YOLACT make, select and enlarge masks in one '
        'function, so that these times fall into both of the mask columns.',
        table(['model', *STAGES], rows),
    ]


def training_section(results: dict) -> list[str]:
    """Time of a training step."""
    models = results['training']
    rows = [
        [name]
        + [ms(median(times[part])) for part in ('forward', 'backward', 'step')]
        + [spread(times['step'])]
        + [ratio(times['step'], models[RETINANET]['step'])]
        for name, times in models.items()
    ]
    head = ['model', 'forward', 'backward', 'step', 'range of steps']
    return [
        '## Time per training step (ms)',
        'Batch 2, 20 objects per image; backward includes the optimizer.',
        table([*head, f'step ({RETINANET} = 1)'], rows),
    ]


def memory_section(results: dict) -> list[str]:
    """Peak memory."""
    models = results['memory']
    kinds = ('testing', 'training')
    rows = []
    for name, peaks in models.items():
        row = [name]
        for kind in kinds:
            relative = peaks[kind] / models[RETINANET][kind]
            row += [f'{peaks[kind]:,.0f}', f'{relative:.3f}']
        rows.append(row)
    heads = ((kind, f'{kind} ({RETINANET} = 1)') for kind in kinds)
    return [
        '## Peak memory (MiB)',
        'Above that of the process before it builds the model: weights, '
        'activations and results; training at batch 2, with the optimizer.',
        table(['model', *sum(heads, ())], rows),
    ]


def growth_section(results: dict) -> list[str]:
    """Growth of time and memory, one table for each quantity."""
    growth = results['growth']
    parts = ['## Growth']
    for key, title, values in (
        ('image size', 'ms per image, by short side of input', SHORT_SIDES),
        ('detections', 'ms for the masks, by detections', DETECTIONS),
    ):
        rows = [[n, *map(ms, times)] for n, times in growth[key].items()]
        parts.append(table([title, *values], rows))
    outputs = [f'{width}x{height}' for height, width in OUTPUTS]
    for key, title, values in (
        ('objects', 'training one head, by objects', OBJECTS),
        ('classes', 'training one head, by classes', CLASSES),
        ('output', '100 masks, by size of the image', outputs),
    ):
        rows = []
        for name, costs in growth[key].items():
            rows.append([f'{name}, ms', *(ms(c['seconds']) for c in costs)])
            mib = (f'{cost["mib"]:,.0f}' for cost in costs)
            rows.append([f'{name}, MiB', *mib])
        parts.append(table([title, *values], rows))
    return parts


def options_section(results: dict) -> list[str]:
    """Time of an image with each option."""
    options = results['options']
    rows = [
        [option, ms(median(times)), ratio(times, options[PLAIN])]
        for option, times in options.items()
    ]
    return [
        f'## Time per image of {SPRNET} with options',
        table(['option', 'ms', f'time ({PLAIN} = 1)'], rows),
    ]


def complexity_section(results: dict) -> list[str]:
    """Parameters and multiply-adds."""
    rows = [
        [
            name,
            f'{counts["parameters"]:.1f}',
            '' if counts['gmacs'] is None else f'{counts["gmacs"]:.0f}',
        ]
        for name, counts in results['complexity'].items()
    ]
    return [
        '## Parameters (millions) and multiply-adds (billions)',
        table(['model', 'parameters', 'multiply-adds'], rows),
    ]


def paper_section(results: dict) -> list[str]:
    """Speeds relative to Mask R-CNN's, in the paper and as measured."""
    times = results['paper']
    rows = [
        [
            name,
            row.fps,
            f'{row.fps / ROWS[BASE].fps:.2f}',
            ms(median(times[name])),
            ratio(times[BASE], times[name]),
        ]
        for name, row in ROWS.items()
    ]
    relative = f'({BASE} = 1)'
    head = ['model', 'images/s in the paper', f'speed in the paper {relative}']
    return [
        "## Speeds of the paper's Table 2",
        table([*head, 'ms here', f'speed here {relative}'], rows),
    ]


SECTIONS = dict(
    latency=latency_section,
    stages=stages_section,
    training=training_section,
    memory=memory_section,
    growth=growth_section,
    options=options_section,
    complexity=complexity_section,
    paper=paper_section,
    rtmdet=rtmdet_section,
    wrapper=wrapper_section,
    throughput=throughput_section,
    compiled=compiled_section,
    runtimes=runtimes_section,
)


def page(results: dict) -> str:
    """The results as a Markdown page, with a section for each part."""
    facts = [f'- {key}: {value}' for key, value in results['run'].items()]
    paragraphs = ['# Speed', '\n'.join(facts), SETTING]
    for part, section in SECTIONS.items():
        if part in results:
            paragraphs += section(results)
    return '\n\n'.join(paragraphs) + '\n'


def chart(results: dict, path: Path) -> None:
    """Draw the time of each model as a bar of its stages."""
    models = results['stages']
    names = list(models)[::-1]
    figure = Figure(figsize=(9, 2 + 0.45 * len(names)), layout='constrained')
    ax = figure.subplots()
    left = [0.0] * len(names)
    for stage in STAGES:
        if stage == ENCODING:
            continue
        widths = [models[name][stage] * 1000 for name in names]
        ax.barh(names, widths, left=left, label=stage)
        left = [a + b for a, b in zip(left, widths)]
    for name, total in zip(names, left):
        masks = (models[name][MASKS] + models[name][PASTING]) * 1000
        ax.text(
            total, name, f' {total:,.0f} ms, masks {masks:,.0f}', va='center'
        )
    ax.set_xlim(0, max(left) * 1.3)
    ax.set_xlabel('ms per image, batch 1')
    ax.legend(loc='lower right', fontsize='small')
    ax.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, dpi=100)
