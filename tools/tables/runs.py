"""Train and test what a table lacks."""

import argparse
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from statistics import mean

from common import ROOT

from .results import collect


def say(text: str) -> None:
    print(f'paper_tables.py: {text}', file=sys.stderr, flush=True)


def run_missing(
    configs: Sequence[Path], paths: Sequence[Path], args: argparse.Namespace
) -> int:
    """Train and test every config with every seed that no test is of.

    Args:
        paths: Results there are, as of run_results.collect.

    Returns:
        How many of them failed.
    """
    runs = results(paths)
    done = {(run.config, run.seed) for run in runs if run.by == 'test'}
    missing = [
        (config, seed)
        for seed in args.seeds
        for config in configs
        if (config.stem, seed) not in done
    ]
    seconds: dict[str, list[float]] = {}
    for run in runs:
        if run.train_seconds:
            seconds.setdefault(run.config, []).append(run.train_seconds)
    pending, failures = list(missing), 0
    # What other processes are at is waited for when nothing else is left.
    for patience in (fcntl.LOCK_NB, 0):
        for config, seed in list(pending):
            name = f'{config.stem}, seed {seed}'
            folder = args.work_dir.absolute() / config.stem / f'seed-{seed}'
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / 'lock', 'w') as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | patience)
                except BlockingIOError:
                    say(f'{name}: another process is at it')
                    continue
                number = len(missing) - len(pending) + 1
                left = time_left(pending, seconds)
                pending.remove((config, seed))
                if any(run.by == 'test' for run in results([folder])):
                    continue
                say(f'[{number}/{len(missing)}] {name}: {left}')
                started = time.monotonic()
                try:
                    train_and_test(config, seed, folder, lock.fileno(), args)
                except (subprocess.CalledProcessError, OSError):
                    say(f'{name} failed, see {folder / "output.log"}')
                    failures += 1
                    continue
            wall = time.monotonic() - started
            seconds.setdefault(config.stem, []).append(wall)
    return failures


def results(paths: Sequence[Path]) -> list:
    """Runs, see run_results.collect, without a word on damaged files."""
    return collect(paths, lambda sentence: None)


def time_left(
    missing: Sequence[tuple[Path, int]], seconds: dict[str, list[float]]
) -> str:
    """A guess from the runs done so far, by config."""
    known = [s for of_config in seconds.values() for s in of_config]
    if not known:
        return 'time left unknown until a run is done'
    left = sum(mean(seconds.get(config.stem, known)) for config, _ in missing)
    return f'about {timedelta(seconds=round(left))} left'


def train_and_test(
    config: Path,
    seed: int,
    folder: Path,
    lock: int,
    args: argparse.Namespace,
) -> None:
    """Train, going on from the last checkpoint, and test the last one.

    Args:
        lock: File descriptor that the commands keep open: the lock holds for
            as long as they run, also where this process was killed.

    Raises:
        subprocess.CalledProcessError, OSError: It failed.
    """
    options = ['--cfg-options', f'randomness.seed={seed}']
    if args.data_root:
        options.append(f'data_root={args.data_root.absolute()}')
    options += args.cfg_options

    def run(tool: str, inputs: list, outputs: list) -> None:
        command = [sys.executable, ROOT / 'tools' / f'{tool}.py', *inputs]
        if args.gpus > 1:
            script = ROOT / 'tools' / f'dist_{tool}.sh'
            command = [script, *inputs, args.gpus]
        with open(folder / 'output.log', 'a') as log:
            subprocess.run(
                list(map(str, [*command, *outputs, *options])),
                stdout=log,
                stderr=log,
                env={**os.environ, 'PYTHON': sys.executable},
                pass_fds=[lock],
                check=True,
            )

    run('train', [config], ['--work-dir', folder, '--resume'])
    last = Path((folder / 'last_checkpoint').read_text())
    run('test', [config, folder / last.name], ['--work-dir', folder / 'test'])
