"""The paper's tables beside what runs here measured, as Markdown.

    python tools/paper_tables.py work_dirs --data shapes --out tables.md

finds the evaluations below work_dirs, each one's row by the config that it
dumped, and leaves the cells of what was not run empty.

    python tools/paper_tables.py --run 1 3a --data shapes --seeds 0 1 2

first trains and tests what Tables 1 and 3(a) lack, a seed of every row before
the next seed. Stopped at any point, the same command goes on; started several
times, the processes share the work.

Rows of yours go in a file of the form of configs/sprnet/paper_tables.yml, with
--tables: they join its tables of the same name, or make new ones; configs are
named from the file's folder, under any name of data that --data then chooses.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from common import ROOT
from common.cli import parser_of
from tables.markdown import load_tables, markdown, table_configs
from tables.results import collect, save
from tables.runs import run_missing, say

PAPER = ROOT / 'configs' / 'sprnet' / 'paper_tables.yml'


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument(
        'results',
        type=Path,
        nargs='*',
        help='work directories or folders of them, result files of test.py, '
        'or what --save kept',
    )
    parser.add_argument(
        '--data',
        default='coco',
        help='whose runs: coco, shapes or a name in your tables (coco)',
    )
    parser.add_argument(
        '--tables',
        type=Path,
        nargs='+',
        action='extend',
        default=[],
        help="files of rows and tables besides the paper's",
    )
    parser.add_argument(
        '--out', type=Path, help='Markdown file to write (to the terminal)'
    )
    parser.add_argument(
        '--save',
        type=Path,
        metavar='FILE.jsonl',
        help='keep the results that were found, a run a line; given back as '
        'RESULTS, it makes the same tables',
    )
    parser.add_argument(
        '--only',
        nargs='+',
        default=[],
        metavar='TABLE',
        help='tables to write, such as 3a (all)',
    )
    add_running(parser)
    args = parser.parse_args()
    for path in [*args.results, *args.tables]:
        if not path.exists():
            parser.error(f'{path} does not exist')
    for path in (args.out, args.save):
        if path and not path.absolute().parent.is_dir():
            parser.error(f'{path} cannot be written: no such folder')
    if args.gpus < 1 or min(args.seeds) < 0:
        parser.error('--gpus must be at least 1, --seeds at least 0')
    if not args.results and not args.run:
        parser.error('name results, or tables to --run')
    return args


def add_running(parser: argparse.ArgumentParser) -> None:
    """Add the options of --run."""
    running = parser.add_argument_group('running')
    running.add_argument(
        '--run',
        nargs='+',
        default=[],
        metavar='TABLE',
        help="tables whose runs are to be completed, such as 3a, or 'all'; "
        'without --only, just these are written',
    )
    running.add_argument(
        '--seeds', type=int, nargs='+', default=[0], help='(0)'
    )
    running.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/tables'),
        help='its runs go in and are taken from CONFIG/seed-N/ there '
        '(work_dirs/tables)',
    )
    running.add_argument(
        '--data-root', type=Path, help="folder of the data (the config's)"
    )
    running.add_argument(
        '--gpus', type=int, default=1, help='ranks of a run (1)'
    )
    running.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        help='options of every config, as for train.py',
    )


def choose(
    tables: Sequence[dict], args: argparse.Namespace
) -> tuple[list[dict], list[dict]]:
    """The tables that --run names, and those that are to be written.

    Raises:
        ValueError: --data, --run or --only names nothing there is, or a config
            that is to run is missing.
    """
    rows = [row for table in tables for row in table['rows']]
    data = sorted({name for row in rows for name in row['configs']})
    if args.data not in data:
        raise ValueError(
            f'--data {args.data} is in no table, only {", ".join(data)}'
        )
    names = [table['table'] for table in tables]
    chosen = {}
    for option in ('run', 'only'):
        wanted = getattr(args, option)
        for name in wanted:
            if name not in ['all', *names]:
                raise ValueError(
                    f'--{option} {name}: no such table, only all, '
                    f'{", ".join(names)}'
                )
        chosen[option] = [
            table
            for table in tables
            if table['table'] in wanted or 'all' in wanted
        ]
    for config in table_configs(chosen['run'], args.data):
        if not config.is_file():
            raise ValueError(f'{config} does not exist')
    return chosen['run'], chosen['only'] or chosen['run'] or list(tables)


def main() -> None:
    args = parse_args()

    try:
        every_table = load_tables([PAPER, *args.tables])
        to_run, to_write = choose(every_table, args)
    except ValueError as error:
        sys.exit(f'paper_tables.py: {error}')
    paths, failures = args.results, 0
    if args.run:
        args.work_dir.mkdir(parents=True, exist_ok=True)
        paths = [*args.results, args.work_dir]
        # SIGTERM as Ctrl-C: what it runs is stopped too
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            configs = table_configs(to_run, args.data)
            failures = run_missing(configs, paths, args)
        except KeyboardInterrupt:
            sys.exit('paper_tables.py: stopped; the same command goes on')

    runs = collect(paths, say)
    in_tables = {
        config.stem
        for table in every_table
        for row in table['rows']
        for configs in row['configs'].values()
        for config in configs.values()
    }
    for run in runs:
        if run.config not in in_tables:
            say(f'{run.config}, seed {run.seed}, is in no table')
        elif not run.metrics:
            say(f'{run.config}, seed {run.seed}, detected nothing')
    if args.save:
        save(runs, args.save)
    text = markdown(to_write, runs, args.data)
    if args.out:
        args.out.write_text(text)
    else:
        print(text, end='')
    if failures:
        sys.exit(f'paper_tables.py: {failures} of the runs failed')


if __name__ == '__main__':
    main()
