"""The sections of the parts that are meant for a GPU."""

from collections.abc import Callable
from statistics import median

from .cells import ratio, table
from .throughput import BATCHES, COMPILED, MODES

BASE = 'RetinaNet'


def cells(
    modes: dict, name: str, cell: Callable[[dict, str, int], str]
) -> list[str]:
    """A model's cells for each mode and batch size; empty where it failed."""
    return [
        cell(modes[mode], name, batch)
        if 'seconds' in modes[mode].get(name, {}).get(str(batch), {})
        else ''
        for mode in MODES
        for batch in BATCHES
    ]


def throughput_section(results: dict) -> list[str]:
    """Images per second, time beside RetinaNet's, and memory."""
    modes = results['throughput']
    names = list(next(iter(modes.values())))

    def seconds(models: dict, name: str, batch: int) -> list[float]:
        return models[name][str(batch)]['seconds']

    def rate(models: dict, name: str, batch: int) -> str:
        return f'{batch / median(seconds(models, name, batch)):.1f}'

    def beside(models: dict, name: str, batch: int) -> str:
        base = models.get(BASE, {}).get(str(batch), {}).get('seconds')
        return ratio(seconds(models, name, batch), base) if base else ''

    def memory(models: dict, name: str, batch: int) -> str:
        mib = models[name][str(batch)]['mib']
        return '' if mib is None else f'{mib:,.0f}'

    parts = [
        '## Throughput, from the images of a batch to masks',
        'Medians. The classifiers of all models are scaled so that scores '
        'differ in float16 too. In float32, convolutions run as PyTorch and '
        'cuDNN do by default, which is TF32 on GPUs that have it.',
    ]
    head = [f'{mode}, batch {batch}' for mode in MODES for batch in BATCHES]
    for title, cell in (
        ('images/s', rate),
        (f'time ({BASE} = 1)', beside),
        ('peak MiB', memory),
    ):
        rows = [[name, *cells(modes, name, cell)] for name in names]
        if any(''.join(row[1:]) for row in rows):  # a CPU has no peak
            parts.append(table([title, *head], rows))
    errors = [
        f'- {name}, {mode}: {entry["error"]}'
        for mode in MODES
        for name, entry in modes[mode].items()
        if 'error' in entry
    ]
    return parts + (['Failed:', '\n'.join(errors)] if errors else [])


def compiled_section(results: dict) -> list[str]:
    """Images per second with and without compiling."""
    rows = []
    for mode, entry in results['compiled'].items():
        if 'error' in entry:
            rows.append([mode, entry['error'], '', '', ''])
            continue
        eager, fast = entry['eager'], entry['compiled']
        rows.append(
            [
                mode,
                f'{1 / median(eager):.1f}',
                f'{1 / median(fast):.1f}',
                ratio(fast, eager),
                f'{entry["first"]:.0f}',
            ]
        )
    head = [
        'mode',
        'images/s',
        'with compile=True',
        'time (without = 1)',
        'first image (s)',
    ]
    return [f'## {COMPILED} with compile=True, batch 1', table(head, rows)]


def runtimes_section(results: dict) -> list[str]:
    """Images per second of the exported model."""
    rows = [
        [provider, f'{1 / median(times):.1f}']
        for provider, times in results['runtimes'].items()
    ]
    return [
        f'## {COMPILED} exported, in ONNX Runtime, batch 1',
        'From the normalised image to boxes and 32x32 maps.',
        table(['provider', 'images/s'], rows),
    ]
