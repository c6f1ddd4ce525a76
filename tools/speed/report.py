"""The results as a page of tables, and as charts."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.figure import Figure

from .growth import CLASSES, DETECTIONS, OBJECTS, OUTPUTS, SHORT_SIDES
from .options import PLAIN
from .paper import ROWS
from .stages import ENCODING, MASKS, PASTING, STAGES
from .subjects import CANDIDATES, FEWER_CANDIDATES, INSTANCES

SETTING = (
    f'All have random weights and return exactly {INSTANCES} instances '
    f'at the size of the picture, 427x640, of {CANDIDATES} candidates above '
    'its own score threshold'
    + ''.join(f' ({name}: {n})' for name, n in FEWER_CANDIDATES.items())
    + '.'
)
BASE, OURS = 'RetinaNet', 'SPRNet-GFPN'


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A Markdown table's lines."""
    lines = [head, ['---'] * len(head), *rows]
    return ['| ' + ' | '.join(map(str, line)) + ' |' for line in lines] + ['']


def ms(seconds: float) -> str:
    return f'{seconds * 1000:,.0f}'


def middle(rounds: Sequence[float]) -> str:
    """Milliseconds, of seconds."""
    return ms(median(rounds))


def spread(rounds: Sequence[float]) -> str:
    """Least and most milliseconds."""
    return f'{ms(min(rounds))}-{ms(max(rounds))}'


def ratio(rounds: Sequence[float], others: Sequence[float]) -> str:
    """Median of the rounds' ratios; a round's times are close together."""
    return f'{median(a / b for a, b in zip(rounds, others)):.3f}'


def latency_section(results: dict) -> list[str]:
    """Time of an image."""
    times = results['latency']
    batches = results.get('batches', {})
    bases = [name for name in (BASE, OURS) if name in times]
    rows = [
        [name, middle(rounds), spread(rounds)]
        + [ratio(rounds, times[base]) for base in bases]
        + [f'{1 / median(rounds):.2f}']
        + [
            f'{int(batch) / median(found[name]):.2f}' if name in found else ''
            for batch, found in batches.items()
        ]
        for name, rounds in times.items()
    ]
    head = ['model', 'ms', 'range', *(f'/ {base}' for base in bases)]
    head += ['images/s', *(f'at batch {batch}' for batch in batches)]
    return [
        '## An image, from picture to results',
        '',
        f'Batch 1, {len(next(iter(times.values())))} rounds in turns: the '
        "medians of the times and of each round's ratios.",
        '',
        *table(head, rows),
    ]


def stages_section(results: dict) -> list[str]:
    """Time of each stage."""
    found = results['stages']
    rows = [
        [name, *(ms(stages[stage]) for stage in STAGES)]
        for name, stages in found.items()
    ]
    return [
        '## By stage (ms)',
        '',
        'RLE comes after the latency above. SOLOv2 finds its objects with '
        'the head of its masks, and it and YOLACT make, select and enlarge '
        'masks in one function: their masks are under both names.',
        '',
        *table(['model', *STAGES], rows),
    ]


def training_section(results: dict) -> list[str]:
    """Time of a training step."""
    found = results['training']
    rows = [
        [name]
        + [middle(times[part]) for part in ('forward', 'backward', 'step')]
        + [spread(times['step'])]
        + [ratio(times['step'], found[BASE]['step'])]
        for name, times in found.items()
    ]
    return [
        '## A training step',
        '',
        'Batch 2, 20 objects an image; backward with the optimizer.',
        '',
        *table(
            ['model', 'forward', 'backward', 'ms', 'range', f'/ {BASE}'], rows
        ),
    ]


def memory_section(results: dict) -> list[str]:
    """Peaks."""
    found = results['memory']
    rows = [
        [name]
        + [
            cell
            for kind in ('testing', 'training')
            for cell in (
                f'{peaks[kind]:,.0f}',
                f'{peaks[kind] / found[BASE][kind]:.3f}',
            )
        ]
        for name, peaks in found.items()
    ]
    head = ['model']
    for kind in ('testing', 'training'):
        head += [kind, f'/ {BASE}']
    return [
        '## Peak memory (MiB)',
        '',
        'Over that of the process before it has a model: weights, activations '
        'and results; in training at batch 2, with the optimizer.',
        '',
        *table(head, rows),
    ]


def growth_section(results: dict) -> list[str]:
    """Growth, a table a quantity."""
    found = results['growth']
    lines = ['## Growth', '']
    for key, title, values in (
        ('image size', 'ms an image; short side of the input', SHORT_SIDES),
        ('detections', 'ms for their masks; detections', DETECTIONS),
    ):
        rows = [[n, *map(ms, times)] for n, times in found[key].items()]
        lines += table([title, *values], rows)
    for key, title, values in (
        ('objects', 'a head alone in training; objects', OBJECTS),
        ('classes', 'a head alone in training; classes', CLASSES),
        (
            'output',
            '100 masks out; size of the image',
            [f'{width}x{height}' for height, width in OUTPUTS],
        ),
    ):
        rows = [
            [f'{name}, {unit}', *(f'{one[field] * scale:,.0f}' for one in all)]
            for name, all in found[key].items()
            for unit, field, scale in (
                ('ms', 'seconds', 1000),
                ('MiB', 'mib', 1),
            )
        ]
        lines += table([title, *values], rows)
    return lines


def options_section(results: dict) -> list[str]:
    """What options gain."""
    found = results['options']
    rows = [
        [option, middle(times), ratio(times, found[PLAIN])]
        for option, times in found.items()
    ]
    return [
        f'## Options of {OURS} (ms an image)',
        '',
        *table(['option', 'ms', f'/ {PLAIN}'], rows),
    ]


def complexity_section(results: dict) -> list[str]:
    """Parameters and multiply-adds."""
    rows = [
        [
            name,
            f'{one["parameters"]:.1f}',
            '' if one['gmacs'] is None else f'{one["gmacs"]:.0f}',
        ]
        for name, one in results['complexity'].items()
    ]
    return [
        '## Parameters (millions) and multiply-adds (billions)',
        '',
        *table(['model', 'parameters', 'multiply-adds'], rows),
    ]


def paper_section(results: dict) -> list[str]:
    """The paper's speeds, as multiples of its Mask R-CNN's, and ours."""
    found = results['paper']
    base = 'Mask R-CNN R50, 800'
    rows = [
        [
            name,
            f'{row.fps}',
            f'{row.fps / ROWS[base].fps:.2f}',
            middle(found[name]),
            ratio(found[base], found[name]),
        ]
        for name, row in ROWS.items()
    ]
    head = ['', "paper's fps", f'/ {base}', 'ms', f'images/s / {base}']
    return ["## The paper's speed column", '', *table(head, rows)]


SECTIONS = dict(
    latency=latency_section,
    stages=stages_section,
    training=training_section,
    memory=memory_section,
    growth=growth_section,
    options=options_section,
    complexity=complexity_section,
    paper=paper_section,
)


def page(results: dict) -> str:
    """All that was measured, as Markdown."""
    facts = [f'- {key}: {value}' for key, value in results['run'].items()]
    lines = ['# Speed', '', *facts, '', SETTING, '']
    for part, section in SECTIONS.items():
        if part in results:
            lines += section(results)
    return '\n'.join(lines)


def chart(results: dict, path: Path) -> None:
    """The stages of each model as stacked bars."""
    found = results['stages']
    names = list(found)[::-1]
    figure = Figure(figsize=(9, 2 + 0.45 * len(names)), layout='constrained')
    ax = figure.subplots()
    left = [0.0] * len(names)
    for stage in STAGES:
        if stage == ENCODING:
            continue
        width = [found[name][stage] * 1000 for name in names]
        ax.barh(names, width, left=left, label=stage)
        left = [a + b for a, b in zip(left, width)]
    for name, total in zip(names, left):
        masks = (found[name][MASKS] + found[name][PASTING]) * 1000
        ax.text(
            total, name, f' {total:,.0f} ms, masks {masks:,.0f}', va='center'
        )
    ax.set_xlim(0, max(left) * 1.3)
    ax.set_xlabel('ms an image, batch 1')
    ax.legend(loc='lower right', fontsize='small')
    ax.spines[['top', 'right']].set_visible(False)
    figure.savefig(path, dpi=100)
