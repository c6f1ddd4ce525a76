"""The report as a Markdown page."""

from collections import Counter
from statistics import median

from speed.cells import table
from speed.report import SECTIONS
from speed.throughput import BATCHES, MODES

from .training import FIGURES

MOST_BESIDE_RETINANET = 1.10
LEAST_OF_MASK_RCNN = 1.3
# Names, and whether the ratio of their times must be at most the limit
MARKS = (
    ('SPRNet-GFPN', 'RetinaNet', MOST_BESIDE_RETINANET, True),
    ('SPRNet-box', 'RetinaNet', MOST_BESIDE_RETINANET, True),
    ('Mask R-CNN', 'SPRNet-GFPN', LEAST_OF_MASK_RCNN, False),
    ('Mask R-CNN', 'SPRNet-box', LEAST_OF_MASK_RCNN, False),
)


def page(report: dict) -> str:
    """The page of a report, finished or not."""
    facts = [f'- {key}: {value}' for key, value in report['run'].items()]
    parts = report['parts']
    rows = [
        [name, part['state'], f'{part["seconds"]:.0f}']
        for name, part in parts.items()
    ]
    paragraphs = ['# GPU check', '\n'.join(facts)]
    paragraphs.append(table(['part', 'result', 'seconds'], rows))
    for name, part in parts.items():
        if part.get('error'):
            paragraphs += [f'{name}:', f'```\n{part["error"]}\n```']
    for name, part in parts.items():
        paragraphs += SECTION[name](part)
    return '\n\n'.join(paragraphs) + '\n'


def environment_section(part: dict) -> list[str]:
    """Machine and software."""
    facts = part.get('facts', {})
    lines = [f'{key}: {value}' for key, value in facts.items()]
    return ['## Environment', '```\n' + '\n'.join(lines) + '\n```']


def tests_section(part: dict) -> list[str]:
    """Counts, failures and what the tests measured."""
    tests = part.get('tests', [])
    counts = Counter(test['outcome'] for test in tests)
    text = ', '.join(f'{n} {outcome}' for outcome, n in counts.items())
    paragraphs = ['## Tests that compare the GPU with the CPU', text]
    paragraphs += failures(tests)
    rows = [
        [short(test['name']), shown(test['measured'])]
        for test in tests
        if test.get('measured')
    ]
    if rows:
        paragraphs.append(table(['test', 'measured'], rows))
    return paragraphs


def suite_section(part: dict) -> list[str]:
    """Counts and failures of the other tests."""
    tests = part.get('tests', [])
    counts = Counter(test['outcome'] for test in tests)
    text = ', '.join(f'{n} {outcome}' for outcome, n in counts.items())
    return ['## The other tests, on this machine', text, *failures(tests)]


def failures(tests: list[dict]) -> list[str]:
    """The failed tests, each with its last line."""
    lines = []
    for test in tests:
        if test['outcome'] == 'failed':
            said = [x for x in test['message'].splitlines() if x[:2] == 'E ']
            lines.append(
                f'- {test["name"]}: `{(said or [""])[-1][2:].strip()}`'
            )
    return ['\n'.join(lines)] if lines else []


def short(name: str) -> str:
    """A test's name without its folder."""
    return (
        name.rpartition('/')[2] if '[' not in name else name.split('gpu/')[-1]
    )


def shown(measured: dict) -> str:
    """Names and figures, the latter with three digits."""
    return ', '.join(
        f'{name} {value:.3g}'
        if isinstance(value, float)
        else f'{name} {value}'
        for name, value in measured.items()
    )


def training_section(part: dict) -> list[str]:
    """AP of each way of training."""
    rows = []
    for way, results in part.get('trainings', {}).items():
        row = [way]
        row += [f'{results[k]:.3g}' if k in results else '' for k in LOGGED]
        for figure in FIGURES:
            for device in ('gpu', 'cpu'):
                value = results.get(device, {}).get(figure)
                row.append('' if value is None else f'{value:.3f}')
        rows.append(row)
    head = ['trained on', 'last loss', 's per iteration', 'memory (MB)']
    for figure in ('box AP', 'mask AP'):
        head += [figure, f'{figure}, tested on the CPU']
    setting = ', '.join(f'{k} {v}' for k, v in part.get('setting', {}).items())
    return [
        '## A short training, each way at the same time',
        setting,
        table(head, rows),
    ]


LOGGED = ('loss', 'iteration', 'memory')


def marks(part: dict) -> list[list[str]]:
    """Rows of what was to be reached, and whether it was."""
    rows = []
    modes = part.get('throughput', {})
    for first, second, limit, at_most in MARKS:
        for mode in MODES:
            for batch in BATCHES:
                times = [
                    modes.get(mode, {})
                    .get(name, {})
                    .get(str(batch), {})
                    .get('seconds')
                    for name in (first, second)
                ]
                row = [
                    f'{first} / {second}, {mode}, batch {batch}',
                    f'{"<=" if at_most else ">="} {limit}',
                ]
                if None in times:
                    rows.append([*row, '', 'not measured'])
                    continue
                value = median(a / b for a, b in zip(*times))
                reached = value <= limit if at_most else value >= limit
                rows.append([*row, f'{value:.3f}', 'yes' if reached else 'NO'])
    return rows


def benchmark_section(part: dict) -> list[str]:
    """Marks, and the tables of tools/benchmark.py."""
    paragraphs = [
        '## Marks: ratios of the times of an image',
        table(['ratio', 'mark', 'measured', 'reached'], marks(part)),
    ]
    for name in ('throughput', 'compiled', 'runtimes'):
        if name in part:
            paragraphs += SECTIONS[name](part)
        else:
            paragraphs.append(f'{name}: not measured')
    return paragraphs


SECTION = dict(
    environment=environment_section,
    tests=tests_section,
    training=training_section,
    benchmark=benchmark_section,
    suite=suite_section,
)
