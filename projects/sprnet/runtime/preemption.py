"""A training that is told to end saves its state, even within an epoch."""

import atexit
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.registry import HOOKS
from mmengine.dist import (
    all_gather_object,
    all_reduce,
    barrier,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from .atomic_checkpoints import WholeFileBackend

FILE = 'interrupted.pth'
KEY = 'interrupted'  # of the checkpoint, for what mmengine does not save
TERM = {signal.SIGTERM}


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGTERM, save a checkpoint after the iteration and end.

    Slurm and other schedulers send SIGTERM some time before they kill a job.
    An evaluation is finished first. ``interrupted.pth`` in the work directory
    continues an epoch at its next batch, with the random numbers that would
    have followed. So the resumed run ends with the weights of an
    uninterrupted one. A batch job of Slurm is put back into the queue. A
    second SIGTERM ends the process at once.

    Args:
        interval (int): Iterations after which several ranks ask each other
            whether one of them was told to end. One rank alone need not ask.
    """

    priority = 'LOWEST'  # the other hooks' work belongs to the iteration

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self._default = signal.SIG_DFL
        self.told = False
        self.state: dict | None = None  # under KEY, of this run or the last
        self.rest: RestOfEpoch | None = None

    def before_train(self, runner: Runner) -> None:
        """Start listening to SIGTERM."""
        with suppress(ValueError):  # only a main thread can
            self._default = signal.signal(signal.SIGTERM, self._note)
        atexit.unregister(kill_workers)
        atexit.register(kill_workers)

    def after_train(self, runner: Runner) -> None:
        """Stop listening."""
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, self._default)

    def _note(self, *_: Any) -> None:
        self.told = True
        signal.signal(signal.SIGTERM, self._default)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the state of an interrupted run."""
        self.state = checkpoint.get(KEY) if runner._resume else None

    def before_train_epoch(self, runner: Runner) -> None:
        """Leave out the batches that the interrupted run has trained."""
        # Slurm signals all processes of a job. Without this, the data loader's
        # workers, which start now and inherit it, would end at once.
        signal.pthread_sigmask(signal.SIG_BLOCK, TERM)
        loop, state, self.state = runner.train_loop, self.state, None
        if state is None or not isinstance(loop, EpochBasedTrainLoop):
            return
        before = state['length'], len(state['random'])
        now = len(loop.dataloader), get_world_size()
        if before == now:
            self.rest = RestOfEpoch(loop.dataloader, state)
            loop.dataloader = self.rest
        else:
            runner.logger.warning(
                'The interrupted epoch starts anew, because it had {} batches '
                'on {} ranks and now has {} on {}.'.format(*before, *now)
            )

    def before_train_iter(self, *args: Any, **kwargs: Any) -> None:
        """Receive signals again; the workers have started."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TERM)

    def before_val_epoch(self, runner: Runner) -> None:
        """Protect the workers, as in training."""
        signal.pthread_sigmask(signal.SIG_BLOCK, TERM)

    before_val_iter = before_train_iter

    def after_train_iter(
        self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any
    ) -> None:
        """Save and end if any rank was told to."""
        if get_world_size() > 1:
            if not self.every_n_train_iters(runner, self.interval):
                return
            told = torch.tensor(float(self.told))
            all_reduce(told, 'max')
            self.told = bool(told)
        # Gradients that still accumulate are not saved.
        if self.told and runner.optim_wrapper.should_update():
            self._save(runner, batch_idx + 1)
            sys.exit(128 + signal.SIGTERM)

    def _save(self, runner: Runner, batches: int) -> None:
        done = 0 if self.rest is None else self.rest.start
        self.state = dict(
            batches=done + batches,
            length=done + len(runner.train_dataloader),
            random=all_gather_object(random_state()),
        )
        runner.save_checkpoint(
            runner.work_dir,
            FILE,
            by_epoch=False,
            backend_args=dict(backend='whole_files'),
        )
        if is_main_process():
            path = str(Path(runner.work_dir, FILE))
            last = Path(runner.work_dir, 'last_checkpoint')
            WholeFileBackend().put_text(path, last)
            runner.logger.warning(
                f'SIGTERM: saved {path}, which --resume continues.'
            )
            requeue(runner)
        barrier()  # Slurm kills all ranks as soon as one has ended

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Add the state of an interrupted run."""
        if self.state is not None:
            checkpoint[KEY] = self.state

    def after_train_epoch(self, runner: Runner) -> None:
        """Return to whole epochs, and remove a file that has served."""
        if self.rest is not None:
            runner.train_loop.dataloader = self.rest.loader
            self.rest = None
        last = Path(runner.work_dir, 'last_checkpoint')
        if (
            is_main_process()
            and last.exists()
            and FILE not in last.read_text()
        ):
            Path(runner.work_dir, FILE).unlink(missing_ok=True)


class RestOfEpoch:
    """A data loader without the first batches of an epoch.

    They are loaded, so that the workers' random numbers stay in step.

    Args:
        loader: Of the whole epoch.
        state: What the interrupted run saved.
    """

    def __init__(self, loader: DataLoader, state: dict) -> None:
        self.loader = loader
        self.start = state['batches']
        self.random = state['random']

    def __len__(self) -> int:
        return len(self.loader) - self.start

    def __iter__(self) -> Iterator[dict]:
        batches = iter(self.loader)
        for _ in range(self.start):
            next(batches)
        set_random_state(self.random[get_rank()])
        return batches

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def kill_workers() -> None:
    """Kill the data loaders' workers that are left when the process ends.

    Python would send them SIGTERM, which they do not receive, and wait.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's reports the dead
    for worker in multiprocessing.active_children():
        if worker.daemon:
            worker.kill()


def random_state() -> dict[str, Any]:
    """The states of this process's generators, as a checkpoint may hold."""
    kind, key, *rest = np.random.get_state()
    gpu = torch.cuda.is_available()
    return dict(
        python=random.getstate(),
        numpy=(kind, key.tolist(), *rest),
        torch=torch.get_rng_state(),
        cuda=torch.cuda.get_rng_state() if gpu else None,
    )


def set_random_state(state: dict[str, Any]) -> None:
    """Go on from :func:`random_state`."""
    random.setstate(state['python'])
    np.random.set_state(state['numpy'])
    torch.set_rng_state(state['torch'].cpu())
    if state['cuda'] is not None:
        torch.cuda.set_rng_state(state['cuda'].cpu())


def requeue(runner: Runner) -> None:
    """Put this job back into Slurm's queue, if it is one and still runs.

    A cancelled job receives SIGTERM too, and stays cancelled.
    """
    job = os.environ.get('SLURM_JOB_ID')
    if not job:
        return
    show = subprocess.run(
        ['scontrol', 'show', 'job', job], capture_output=True, text=True
    )
    if not re.search(r'JobState=RUNNING\b', show.stdout):
        return
    done = subprocess.run(
        ['scontrol', 'requeue', job], capture_output=True, text=True
    )
    if done.returncode:
        runner.logger.warning(
            f'Slurm did not requeue job {job}: {done.stderr.strip()}'
        )
