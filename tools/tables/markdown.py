"""Tables that put what runs measured beside the paper's figures.

A table is what configs/sprnet/paper_tables.yml holds, but for the configs of
its rows: those are a dict of the data's name to a dict of 'bbox' and 'segm' to
a path.
"""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

from mmengine.fileio import load

from .results import Run

KINDS = dict(bbox='box', segm='mask')
ROW_KEYS = {'labels', 'paper', 'gain_over'}
NOTE = (
    'Percent, empty where nothing was run. Ours: mean ± sample standard '
    'deviation over the seeds. Runs: number x length, mean minutes of training'
    " steps. Gain: the paper's / ours, of the differences seed by seed; ours "
    'alone where the paper has none.'
)


def load_tables(files: Sequence[Path]) -> list[dict]:
    """Tables of files in order, with the rows of like-named tables together.

    Raises:
        ValueError: A file is not of the form of paper_tables.yml.
    """
    tables: dict[str, dict] = {}
    for file in files:
        try:
            for table in load(file):
                name = str(table['table'])
                known = tables.setdefault(
                    name, dict(table, table=name, rows=[])
                )
                for row in table['rows']:
                    known['rows'].append(_read_row(row, known, file.parent))
        except KeyError as error:
            raise ValueError(f'{file}: {error} is missing') from error
        except Exception as error:  # whatever a damaged file leads to
            sentence = ' '.join(str(error).split())
            raise ValueError(f'{file}: {sentence}') from error
    return list(tables.values())


def _read_row(row: dict, table: dict, folder: Path) -> dict:
    """A row with its configs by data and kind of figure."""
    labels, metrics = row['labels'], table['metrics']
    paper = row.get('paper', [None] * len(metrics))
    for key, given, columns in (
        ('labels', labels, table['columns']),
        ('paper', paper, metrics),
    ):
        if len(given) != len(columns):
            raise ValueError(
                f'table {table["table"]}, row {labels}: {key} has '
                f'{len(given)} entries for the columns {columns}'
            )
    kinds = {_kind(metric) for metric in metrics}
    base = row.get('gain_over')
    if base is not None and base not in [r['labels'] for r in table['rows']]:
        raise ValueError(
            f'table {table["table"]}, row {labels}: gain_over={base} must be '
            'the labels of a row above it'
        )
    configs = {}
    for data in row.keys() - ROW_KEYS:
        given = row[data]
        if isinstance(given, str):
            given = dict.fromkeys(kinds, given)
        elif set(given) != kinds:
            raise ValueError(
                f'table {table["table"]}, row {labels}: {data} names configs '
                f'of {sorted(given)} for figures of {sorted(kinds)}'
            )
        configs[data] = {kind: folder / path for kind, path in given.items()}
    return dict(labels=labels, paper=paper, configs=configs, gain_over=base)


def _kind(metric: str) -> str:
    """'bbox' of 'bbox_mAP_50'."""
    return metric.split('_')[0]


def table_configs(tables: Iterable[dict], data: str) -> list[Path]:
    """The configs of tables' rows for some data, each once, in order."""
    return list(
        dict.fromkeys(
            config
            for table in tables
            for row in table['rows']
            for config in row['configs'].get(data, {}).values()
        )
    )


def markdown(tables: Iterable[dict], runs: Iterable[Run], data: str) -> str:
    """The tables of some data, each row's figures in up to four lines.

    The paper's; ours, mean and spread over the seeds, empty where nothing was
    run; on COCO the difference of the two; and what the row gains over the one
    that it is compared with, in the paper and here.
    """
    by_config: dict[str, list[Run]] = {}
    for run in runs:
        by_config.setdefault(run.config, []).append(run)
    note = NOTE
    if data != 'coco':
        note += f" The paper's figures are of COCO, ours of the {data}."
    parts = [note]
    for table in tables:
        lines = _table_lines(table, by_config, data)
        if lines:
            parts.append(f'### Table {table["table"]}: {table["title"]}')
            parts.append('\n'.join(lines))
    return '\n\n'.join(parts) + '\n'


def _table_lines(
    table: dict, by_config: dict[str, list[Run]], data: str
) -> list[str]:
    """A Markdown table, no lines if no row has figures or configs."""
    lines = []
    for row in table['rows']:
        labels = row['labels']
        for cells in _row_cells(row, table, by_config, data):
            lines.append(_line([*labels, *cells]))
            labels = [''] * len(labels)  # said in its first line
    if not lines:
        return []
    headings = [_heading(metric) for metric in table['metrics']]
    left = [*table['columns'], 'figures', 'runs']
    rule = ['---'] * len(left) + ['--:'] * len(headings)
    return [_line([*left, *headings]), _line(rule), *lines]


def _row_cells(
    row: dict, table: dict, by_config: dict[str, list[Run]], data: str
) -> list[list[str]]:
    """The lines of a row: what they show, the runs, and the figures."""
    lines = []
    if any(figure is not None for figure in row['paper']):
        printed = ['-' if x is None else f'{x:.1f}' for x in row['paper']]
        lines.append(['paper', '', *printed])
    configs = row['configs'].get(data)
    if not configs:
        return lines
    ours = _measured(row, table, by_config, data)
    spreads = [_spread(by_seed.values()) for by_seed in ours]
    lines.append([_names(configs), _extents(configs, by_config), *spreads])
    if data == 'coco':
        lines += _filled('difference', map(_difference, ours, row['paper']))
    if row['gain_over'] is not None:
        base = next(
            r for r in table['rows'] if r['labels'] == row['gain_over']
        )
        gains = map(
            _gain,
            ours,
            _measured(base, table, by_config, data),
            row['paper'],
            base['paper'],
        )
        names = _names(base['configs'].get(data, {}))
        lines += _filled(f'gain over {names}', gains)
    return lines


def _filled(label: str, cells: Iterable[str]) -> list[list[str]]:
    """The line of these cells, none if all are empty."""
    cells = list(cells)
    return [[label, '', *cells]] if any(cells) else []


def _measured(
    row: dict, table: dict, by_config: dict[str, list[Run]], data: str
) -> list[dict[int | None, float]]:
    """For every metric the row's figures in percent by seed.

    COCOeval's -1 is a -100 there.
    """
    configs = row['configs'].get(data, {})
    runs = {
        kind: by_config.get(config.stem, [])
        for kind, config in configs.items()
    }
    return [
        {
            run.seed: 100 * run.metrics[metric]
            for run in runs.get(_kind(metric), [])
            if metric in run.metrics
        }
        for metric in table['metrics']
    ]


def _names(configs: dict[str, Path]) -> str:
    """The stems, with their kinds if they are two."""
    stems = {config.stem for config in configs.values()}
    if len(stems) == 1:
        return f'`{stems.pop()}`'
    return ', '.join(
        f'{KINDS.get(k, k)} `{c.stem}`' for k, c in configs.items()
    )


def _extents(configs: dict[str, Path], by_config: dict[str, list[Run]]) -> str:
    stems = dict.fromkeys(config.stem for config in configs.values())
    extents = [_extent(by_config.get(stem, [])) for stem in stems]
    return '; '.join(filter(None, extents))


def _extent(runs: Sequence[Run]) -> str:
    """How many trainings of which length, such as '3 x 9 epochs, 15.1 min'."""
    runs = [run for run in runs if run.metrics]
    epochs = sorted({run.epochs for run in runs if run.epochs})
    seconds = [run.train_seconds for run in runs if run.train_seconds]
    text = str(len(runs)) if runs else ''
    if epochs:
        text += f' x {" or ".join(map(str, epochs))} epochs'
    if seconds:
        text += f', {mean(seconds) / 60:.1f} min'
    return text


def _present(figures: Iterable[float]) -> list[float]:
    """Without COCOeval's -1 for a size that no object has."""
    return [figure for figure in figures if figure >= 0]


def _spread(figures: Collection[float]) -> str:
    """Percents of several seeds as one cell, empty where nothing was run."""
    present = _present(figures)
    if not present:
        return '-' if figures else ''
    text = f'{mean(present):.1f}'
    return text + f' ± {stdev(present):.1f}' if len(present) > 1 else text


def _difference(ours: dict[int | None, float], paper: float | None) -> str:
    present = _present(ours.values())
    if not present or paper is None:
        return ''
    return _signed(mean(present) - paper)


def _gain(
    ours: dict[int | None, float],
    base: dict[int | None, float],
    paper: float | None,
    paper_base: float | None,
) -> str:
    """The paper's gain and ours over the seeds that both rows have."""
    gains = [
        ours[seed] - base[seed]
        for seed in ours.keys() & base.keys()
        if min(ours[seed], base[seed]) >= 0
    ]
    if not gains:
        return ''
    text = _signed(mean(gains))
    if len(gains) > 1:
        text += f' ± {stdev(gains):.1f}'
    if paper is None or paper_base is None:
        return text
    return f'{_signed(paper - paper_base)} / {text}'


def _signed(figure: float) -> str:
    return f'{round(figure, 1) + 0:+.1f}'  # + 0: never -0.0


def _heading(metric: str) -> str:
    """'mask AP_S' of 'segm_mAP_s'."""
    kind, _, name = metric.partition('_')
    return f'{KINDS.get(kind, kind)} {name.removeprefix("m").upper()}'


def _line(cells: Iterable[object]) -> str:
    return '| ' + ' | '.join(map(str, cells)) + ' |'
