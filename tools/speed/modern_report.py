"""Tables of the parts ``rtmdet`` and ``wrapper``."""

from statistics import median

from .cells import ms, ratio, table
from .rtmdet import DETECTIONS, OBJECTS
from .wrapper import KINDS

NO_MEMORY = 'out of memory'


def rtmdet_section(results: dict) -> list[str]:
    """Time by detections; time and memory of training by objects."""
    models, side = results['rtmdet'], results['rtmdet']['side']
    times = models['detections']
    base = next(iter(times.values()))
    rows = []
    for name, rounds in times.items():
        rows.append([f'{name}, ms', *(ms(median(r)) for r in rounds)])
        relative = (ratio(r, b) for r, b in zip(rounds, base))
        rows.append([f'{name}, time ({next(iter(times))} = 1)', *relative])
    parts = [
        f'## SPR around RTMDet, input {side}x{side}',
        table(['time per image, by detections', *DETECTIONS], rows),
    ]
    rows = []
    for name, costs in models['objects'].items():
        for unit, cell in (
            ('ms', lambda cost: ms(cost['seconds'])),
            ('MiB', lambda cost: f'{cost["mib"]:,.0f}'),
        ):
            cells = [cell(cost) if cost else NO_MEMORY for cost in costs]
            rows.append([f'{name}, {unit}', *cells])
    head = 'a training step at batch 1, above the model, by objects'
    return [*parts, table([head, *OBJECTS], rows)] if rows else parts


def wrapper_section(results: dict) -> list[str]:
    """What SPR adds to each detector."""
    rows = []
    for name, costs in results['wrapper'].items():
        stock, sprnet = (costs['seconds'][kind] for kind in KINDS)
        more = median(b - a for a, b in zip(stock, sprnet))
        mib = [costs['mib'][kind] for kind in KINDS]
        rows.append(
            [name, ms(median(stock)), ms(median(sprnet)), ms(more)]
            + [ms(median(costs['masks']))]
            + [f'{value:,.0f}' for value in (*mib, mib[1] - mib[0])]
        )
    head = ['RetinaNet with', 'ms', 'ms with masks', 'ms added', 'ms of masks']
    return [
        '## What masks add to detectors of other sizes',
        'Added: differences within each round, and of the peaks in testing. '
        'Of masks: the time of their stages, which varies less.',
        table([*head, 'MiB', 'MiB with masks', 'MiB added'], rows),
    ]
