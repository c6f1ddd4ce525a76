"""Markdown tables of the paper's figures beside measured ones."""

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

from common.markdown import markdown_table

from .definitions import Row, Table, kind_of
from .results import Run

KINDS = dict(bbox='box', segm='mask')
NOTE = (
    'All figures are percentages; cells without a run are empty. Measured: '
    'mean ± sample standard deviation over the seeds. Gain: the difference to '
    'the named config, measured between runs of the same seed. Training time: '
    'mean of the runs, training steps only.'
)

# A metric's percentage for each seed; -100 where COCOeval found no object
Figures = dict[int | None, float]


def markdown(tables: Iterable[Table], runs: Iterable[Run], data: str) -> str:
    """Write tables as Markdown.

    Each row of a table takes up to four lines: the paper's figures, the
    measured ones, on COCO their difference, and the gain over the row's base.
    Tables without figures or configs for the data are left out.

    Args:
        runs: at most one for each config and seed.
        data: the data whose configs are shown.
    """
    by_config: dict[str, list[Run]] = {}
    for run in runs:
        if run.metrics:
            by_config.setdefault(run.config, []).append(run)
    note = NOTE
    if data != 'coco':
        note += f" The paper's figures are for COCO, measured ones for {data}."
    parts = [note]
    for table in tables:
        lines = [
            line
            for row in table.rows
            for line in _row_lines(row, table.metrics, by_config, data)
        ]
        if lines:
            left = [*table.columns, 'result', 'runs, training time']
            head = [*left, *map(_heading, table.metrics)]
            align = 'l' * len(left) + 'r' * len(table.metrics)
            parts.append(f'### Table {table.name}: {table.title}')
            parts.append(markdown_table(head, lines, align))
    return '\n\n'.join(parts) + '\n'


def _row_lines(
    row: Row,
    metrics: Sequence[str],
    by_config: dict[str, list[Run]],
    data: str,
) -> list[list]:
    """Labels, result, runs and the metrics' cells of each line of a row."""
    lines = []
    if any(figure is not None for figure in row.paper):
        printed = ['-' if x is None else f'{x:.1f}' for x in row.paper]
        lines.append(['paper', '', *printed])
    configs = row.configs.get(data)
    if configs:
        measured = _measured(configs, metrics, by_config)
        runs = _by_kind(configs, lambda stem: _extent(by_config.get(stem, [])))
        label = f'measured: {_names(configs)}'
        lines.append([label, runs, *map(_mean_and_spread, measured)])
        if data == 'coco':
            differences = list(map(_difference, measured, row.paper))
            if any(differences):
                lines.append(['measured - paper', '', *differences])
        if row.base:
            base_configs = row.base.configs.get(data, {})
            base = _measured(base_configs, metrics, by_config)
            gains = list(map(_gain, measured, base, row.paper, row.base.paper))
            label = f'gain over {_names(base_configs)}'
            if any(' / ' in gain for gain in gains):
                label += ' (paper / measured)'
            if any(gains):
                lines.append([label, '', *gains])
    no_labels = [''] * len(row.labels)
    return [
        [*(no_labels if number else row.labels), *line]
        for number, line in enumerate(lines)
    ]


def _measured(
    configs: dict[str, Path],
    metrics: Sequence[str],
    by_config: dict[str, list[Run]],
) -> list[Figures]:
    """The figures of each metric; no figures without a config."""
    runs = {kind: by_config.get(c.stem, []) for kind, c in configs.items()}
    return [
        {
            run.seed: 100 * run.metrics[metric]
            for run in runs.get(kind_of(metric), [])
            if metric in run.metrics
        }
        for metric in metrics
    ]


def _names(configs: dict[str, Path]) -> str:
    return _by_kind(configs, '`{}`'.format)


def _by_kind(configs: dict[str, Path], text_of: Callable[[str], str]) -> str:
    """The text for a config's stem; each with its kind if there are two."""
    stems = {config.stem for config in configs.values()}
    if len(stems) == 1:
        return text_of(stems.pop())
    texts = {kind: text_of(config.stem) for kind, config in configs.items()}
    return '; '.join(
        f'{KINDS.get(kind, kind)} {text}'
        for kind, text in texts.items()
        if text
    )


def _extent(runs: Sequence[Run]) -> str:
    """Number and length of runs, such as '3 runs of 1 epoch, 15.1 min'."""
    if not runs:
        return ''
    text = f'{len(runs)} run{"s" * (len(runs) > 1)}'
    epochs = sorted({run.epochs for run in runs if run.epochs})
    if epochs:
        text += f' of {" or ".join(map(str, epochs))} epoch'
        text += 's' * (epochs != [1])
    seconds = [run.train_seconds for run in runs if run.train_seconds]
    return text + (f', {mean(seconds) / 60:.1f} min' if seconds else '')


def _present(figures: Iterable[float]) -> list[float]:
    """Drop COCOeval's -1, its figure for a size that no object has."""
    return [figure for figure in figures if figure >= 0]


def _mean_and_spread(figures: Figures) -> str:
    """The cell of a metric; '-' if no object has its size."""
    present = _present(figures.values())
    if not present:
        return '-' if figures else ''
    return f'{mean(present):.1f}' + _spread(present)


def _spread(figures: Collection[float]) -> str:
    return f' ± {stdev(figures):.1f}' if len(figures) > 1 else ''


def _difference(measured: Figures, paper: float | None) -> str:
    present = _present(measured.values())
    if not present or paper is None:
        return ''
    return _signed(mean(present) - paper)


def _gain(
    measured: Figures,
    measured_base: Figures,
    paper: float | None,
    paper_base: float | None,
) -> str:
    """The paper's gain, if any, and the mean over the seeds of both rows."""
    gains = [
        measured[seed] - measured_base[seed]
        for seed in measured.keys() & measured_base.keys()
        if min(measured[seed], measured_base[seed]) >= 0
    ]
    if not gains:
        return ''
    text = _signed(mean(gains)) + _spread(gains)
    if paper is None or paper_base is None:
        return text
    return f'{_signed(paper - paper_base)} / {text}'


def _signed(figure: float) -> str:
    return f'{round(figure, 1) + 0:+.1f}'  # + 0 turns -0.0 into 0.0


def _heading(metric: str) -> str:
    """'mask AP_S' for 'segm_mAP_s'."""
    kind, _, name = metric.partition('_')
    return f'{KINDS.get(kind, kind)} {name.removeprefix("m").upper()}'
