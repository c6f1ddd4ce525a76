"""Tables in files of the form of configs/sprnet/paper_tables.yml."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.fileio import load

from projects.sprnet.errors import InputError

ROW_KEYS = {'labels', 'paper', 'gain_over'}  # every other key names data


class Row(NamedTuple):
    """A row of a table.

    Args:
        labels: its cells in the table's columns.
        paper: the paper's percentage for each metric, None where it has none.
        configs: paths by name of the data, then by kind ('bbox', 'segm').
        base: the row above that this row's gain refers to.
    """

    labels: list[Any]
    paper: list[float | None]
    configs: dict[str, dict[str, Path]]
    base: 'Row | None'


class Table(NamedTuple):
    """A table.

    Args:
        name: the paper's number, such as '3a', or a word.
        columns: headings of the rows' labels.
        metrics: such as 'segm_mAP_50', a column each.
    """

    name: str
    title: str
    columns: list[str]
    metrics: list[str]
    rows: list[Row]


def load_tables(files: Iterable[Path]) -> list[Table]:
    """Read the tables of all files; tables of the same name are joined.

    Raises:
        InputError: A file is not of the form of paper_tables.yml.
    """
    tables: dict[str, Table] = {}
    for file in files:
        try:
            for entry in load(file):
                name = str(entry['table'])
                if name not in tables:
                    keys = 'title', 'columns', 'metrics'
                    tables[name] = Table(name, *(entry[k] for k in keys), [])
                for row in entry['rows']:
                    row = _read_row(row, tables[name], file.parent)
                    tables[name].rows.append(row)
        except KeyError as error:
            raise InputError(f'{file}: the key {error} is missing') from error
        except Exception as error:  # a damaged file can raise anything
            sentence = ' '.join(str(error).split())
            raise InputError(f'{file}: {sentence}') from error
    return list(tables.values())


def _read_row(entry: dict, table: Table, folder: Path) -> Row:
    labels, base_labels = entry['labels'], entry.get('gain_over')
    paper = entry.get('paper', [None] * len(table.metrics))
    where = f'table {table.name}, row {labels}'
    for key, cells, columns in (
        ('labels', labels, table.columns),
        ('paper', paper, table.metrics),
    ):
        if len(cells) != len(columns):
            raise InputError(
                f'{where}: {key} has {len(cells)} entries and must have one '
                f'for each of the columns {columns}'
            )
    rows_above = (row for row in table.rows if row.labels == base_labels)
    base = next(rows_above, None)
    if base_labels is not None and base is None:
        raise InputError(
            f'{where}: gain_over={base_labels} must be the labels of a row '
            'above it'
        )
    kinds = dict.fromkeys(map(kind_of, table.metrics))
    configs = {}
    for data in entry.keys() - ROW_KEYS:
        paths = entry[data]
        if isinstance(paths, str):
            paths = dict.fromkeys(kinds, paths)
        elif set(paths) != set(kinds):
            raise InputError(
                f'{where}: {data} has configs of {sorted(paths)} and must '
                f'have configs of {sorted(kinds)}'
            )
        configs[data] = {kind: folder / path for kind, path in paths.items()}
    return Row(labels, paper, configs, base)


def kind_of(metric: str) -> str:
    """'bbox' for 'bbox_mAP_50'."""
    return metric.partition('_')[0]


def configs_of(tables: Sequence[Table], data: str) -> list[Path]:
    """The configs for some data, each once, in the order of the rows."""
    configs = (
        config
        for table in tables
        for row in table.rows
        for config in row.configs.get(data, {}).values()
    )
    return list(dict.fromkeys(configs))
