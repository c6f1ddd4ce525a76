"""Write the paper's tables beside what runs here measured, as Markdown.

    python tools/paper_tables.py work_dirs --data shapes --out tables.md

finds the evaluations below work_dirs and assigns each to its row by the config
that it dumped. Cells without a run stay empty.

    python tools/paper_tables.py --run 1 3a --data shapes --seeds 0 1 2

first trains and tests what Tables 1 and 3(a) lack: one seed of every row, then
the next seed. Stop it at any time: the same command continues. Start it more
than once: the processes share the work.

Your own rows go into a file of the form of configs/sprnet/paper_tables.yml,
given to --tables. They join its tables of the same name or make new ones. The
paths of configs are relative to the file. A row's configs may be for data of
any name; --data chooses it.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from common import ROOT
from common.cli import at_least_one, existing, one_sentence, parser_of

from tables.definitions import Table, configs_of, load_tables
from tables.markdown import markdown
from tables.results import Run, collect, save
from tables.runs import run_missing, say

from projects.sprnet.errors import InputError

PAPER = ROOT / 'configs' / 'sprnet' / 'paper_tables.yml'


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument(
        'results',
        type=existing,
        nargs='*',
        help='work directories or folders of them, result files of test.py, '
        'or a file written by --save',
    )
    parser.add_argument(
        '--data',
        default='coco',
        help='data of the runs: coco, shapes or a name in your tables (coco)',
    )
    parser.add_argument(
        '--tables',
        type=existing,
        nargs='+',
        action='extend',
        default=[],
        help="files of rows and tables to add to the paper's",
    )
    parser.add_argument(
        '--out', type=Path, help='Markdown file to write (the terminal)'
    )
    parser.add_argument(
        '--save',
        type=Path,
        metavar='FILE.jsonl',
        help='write the results that were found, one run a line; this file as '
        'RESULTS makes the same tables',
    )
    parser.add_argument(
        '--only',
        nargs='+',
        default=[],
        metavar='TABLE',
        help='tables to write, such as 3a (those of --run, or all)',
    )
    add_run_options(parser)
    args = parser.parse_args()
    for option in ('out', 'save'):
        path = getattr(args, option)
        if path and not path.absolute().parent.is_dir():
            parser.error(f'--{option} {path}: its folder does not exist')
    if min(args.seeds) < 0:
        parser.error(f'--seeds must be at least 0, not {min(args.seeds)}')
    if not args.results and not args.run:
        parser.error('name RESULTS, or tables to --run')
    return args


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add --run and the options of the runs it makes."""
    group = parser.add_argument_group('running')
    group.add_argument(
        '--run',
        nargs='+',
        default=[],
        metavar='TABLE',
        help="tables whose missing runs are made, such as 3a, or 'all'",
    )
    group.add_argument('--seeds', type=int, nargs='+', default=[0], help='(0)')
    group.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/tables'),
        help='each run is made in, and its results are read from, '
        'CONFIG/seed-N/ in this folder (work_dirs/tables)',
    )
    group.add_argument(
        '--data-root', type=Path, help="folder of the data (the config's)"
    )
    group.add_argument(
        '--gpus', type=at_least_one, default=1, help='GPUs of a run (1)'
    )
    group.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        help='options for every config, as for train.py',
    )


def select_tables(
    tables: Sequence[Table], option: str, names: Sequence[str]
) -> list[Table]:
    """The tables that an option names.

    Raises:
        InputError: A name is neither 'all' nor a table's.
    """
    known = ['all', *(table.name for table in tables)]
    for name in names:
        if name not in known:
            raise InputError(
                f'--{option} {name} is no table; choose from '
                f'{", ".join(known)}'
            )
    return [t for t in tables if t.name in names or 'all' in names]


def check_configs(
    tables: Sequence[Table], to_run: Sequence[Table], data: str
) -> None:
    """Check that data has rows and that the configs to run exist.

    Raises:
        InputError: The data is in no table, or a config does not exist.
    """
    known = {name for t in tables for row in t.rows for name in row.configs}
    if data not in known:
        raise InputError(
            f'--data {data} is in no table; choose from '
            f'{", ".join(sorted(known))}'
        )
    for config in configs_of(to_run, data):
        if not config.is_file():
            raise InputError(f'{config} of --run does not exist')


def report_unused(runs: Sequence[Run], tables: Sequence[Table]) -> None:
    """Name the runs that add no figure to any table."""
    stems = {
        config.stem
        for table in tables
        for row in table.rows
        for configs in row.configs.values()
        for config in configs.values()
    }
    for run in runs:
        if run.config not in stems:
            say(f'{run.config}, seed {run.seed}, is in no table')
        elif not run.metrics:
            say(f'{run.config}, seed {run.seed}, detected nothing')


def main() -> None:
    args = parse_args()
    with one_sentence():
        tables = load_tables([PAPER, *args.tables])
        to_run = select_tables(tables, 'run', args.run)
        to_write = select_tables(tables, 'only', args.only) or to_run or tables
        check_configs(tables, to_run, args.data)
    paths, failures = args.results, 0
    if args.run:
        args.work_dir.mkdir(parents=True, exist_ok=True)
        paths = [*args.results, args.work_dir]
        # SIGTERM acts as Ctrl-C: train.py or test.py is stopped too.
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            configs = configs_of(to_run, args.data)
            failures = run_missing(configs, paths, args)
        except KeyboardInterrupt:
            sys.exit('paper_tables.py: stopped; the same command continues')
        finally:
            signal.signal(signal.SIGTERM, before)

    runs = collect(paths, say)
    report_unused(runs, tables)
    if args.save:
        save(runs, args.save)
    text = markdown(to_write, runs, args.data)
    if args.out:
        args.out.write_text(text)
    else:
        print(text, end='')
    if failures:
        sys.exit(f'paper_tables.py: {failures} runs failed')


if __name__ == '__main__':
    main()
