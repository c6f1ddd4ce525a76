"""Train and test the runs that tables lack."""

import argparse
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from statistics import mean

from common import ROOT

from .results import Run, collect


def say(sentence: str) -> None:
    print(f'paper_tables.py: {sentence}', file=sys.stderr, flush=True)


def run_missing(
    configs: Sequence[Path], paths: Sequence[Path], args: argparse.Namespace
) -> int:
    """Train and test each config with each seed that has no test yet.

    Processes that share a work directory share the runs: each run has a lock.

    Args:
        paths: where results are, see :func:`.results.collect`.
        args: seeds, work_dir, gpus, data_root and cfg_options of the command.

    Returns:
        The number of runs that failed.
    """
    runs = _runs(paths)
    tested = {(run.config, run.seed) for run in runs if run.by == 'test'}
    pending = [
        (config, seed)
        for seed in args.seeds
        for config in configs
        if (config.stem, seed) not in tested
    ]
    total, failures = len(pending), 0
    seconds: dict[str, list[float]] = {}
    for run in runs:
        if run.train_seconds:
            seconds.setdefault(run.config, []).append(run.train_seconds)
    # First the free runs, then those that another process holds.
    for wait in (False, True):
        for config, seed in list(pending):
            name = f'{config.stem}, seed {seed}'
            folder = args.work_dir.absolute() / config.stem / f'seed-{seed}'
            with run_lock(folder, wait) as lock:
                if lock is None:
                    say(f'{name}: another process is running it')
                    continue
                number = total - len(pending) + 1
                left = time_left(pending, seconds)
                pending.remove((config, seed))
                if any(run.by == 'test' for run in _runs([folder])):
                    continue
                say(f'[{number}/{total}] {name}: {left}')
                started = time.monotonic()
                try:
                    train_and_test(config, seed, folder, lock, args)
                except (subprocess.CalledProcessError, OSError):
                    say(f'{name} failed; see {folder / "output.log"}')
                    failures += 1
                else:
                    duration = time.monotonic() - started
                    seconds.setdefault(config.stem, []).append(duration)
    return failures


def _runs(paths: Sequence[Path]) -> list[Run]:
    """Results as of now; files that are not readable yet are left out."""
    return collect(paths, lambda sentence: None)


@contextmanager
def run_lock(folder: Path, wait: bool) -> Iterator[int | None]:
    """Hold the lock of a run's folder, which is made if it is missing.

    Args:
        wait: for the process that holds the lock.

    Yields:
        The lock's file descriptor, or None if another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / 'lock', 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            descriptor = None
        else:
            descriptor = file.fileno()
        yield descriptor


def time_left(
    pending: Sequence[tuple[Path, int]], seconds: dict[str, list[float]]
) -> str:
    """Estimate the time left from the runs done so far.

    Args:
        pending: config and seed of each run to be made.
        seconds: durations of runs, by their config's stem.
    """
    known = [s for durations in seconds.values() for s in durations]
    if not known:
        return 'time left unknown until a run is done'
    left = sum(mean(seconds.get(config.stem, known)) for config, _ in pending)
    return f'about {timedelta(seconds=round(left))} left'


def train_and_test(
    config: Path,
    seed: int,
    folder: Path,
    lock: int,
    args: argparse.Namespace,
) -> None:
    """Train from the last checkpoint on, then test the final one.

    Args:
        lock: file descriptor that train.py and test.py inherit. They hold the
            lock until they end, even if this process is killed.

    Raises:
        subprocess.CalledProcessError, OSError: train.py or test.py failed.
    """
    options = ['--cfg-options', f'randomness.seed={seed}']
    if args.data_root:
        options.append(f'data_root={args.data_root.absolute()}')
    options += args.cfg_options

    def run(tool: str, *inputs: Path, work_dir: Path, flags: Sequence = ()):
        command = [sys.executable, ROOT / 'tools' / f'{tool}.py', *inputs]
        if args.gpus > 1:
            script = ROOT / 'tools' / f'dist_{tool}.sh'
            command = [script, *inputs, args.gpus]
        command += ['--work-dir', work_dir, *flags, *options]
        with open(folder / 'output.log', 'a') as log:
            subprocess.run(
                list(map(str, command)),
                stdout=log,
                stderr=log,
                env={**os.environ, 'PYTHON': sys.executable},
                pass_fds=[lock],
                check=True,
            )

    run('train', config, work_dir=folder, flags=['--resume'])
    # By its name: the file may name the folder before it was moved.
    last = Path((folder / 'last_checkpoint').read_text()).name
    run('test', config, folder / last, work_dir=folder / 'test')
