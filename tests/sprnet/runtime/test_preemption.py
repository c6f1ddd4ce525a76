"""A training that gets SIGTERM is saved, and continues where it was."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
import torch.distributed as dist
from mmengine.hooks import Hook
from support.children import exit_codes, start
from support.helpers import ROOT
from support.toy_run import EPOCHS, Toy, last_weights, toy_runner

from projects.sprnet.runtime import PreemptionHook

ITERATIONS = 2 * EPOCHS
SAVED = 'interrupted.pth'


class Noisy(Toy):
    """Draws a random number in each iteration."""

    def losses(self, images, samples):
        images = images + torch.rand(())
        return super().losses(images, samples)


class Terminate(Hook):
    """Send SIGTERM to all processes of the run, as Slurm does."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, *args, **kwargs):
        if runner.iter == self.iteration:
            own = psutil.Process()
            workers = own.children()
            # From another process: to their parent, workers yield in silence.
            # A shell has its own `kill`; a small system lacks the program.
            pids = ' '.join(str(p.pid) for p in (*workers, own))
            subprocess.run(['sh', '-c', f'kill {pids}'], check=True)
            if workers:
                time.sleep(0.5)  # for the news of a worker's end


def noisy_runner(folder, **options):
    runner = toy_runner(folder, Noisy, **options)
    runner.register_hook(PreemptionHook())
    return runner


def terminate(runner, iteration):
    """Train until SIGTERM in an iteration ends the process."""
    runner.register_hook(Terminate(iteration))
    with pytest.raises(SystemExit) as end:
        runner.train()
    assert end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    last = runner.work_dir + '/last_checkpoint'
    with open(last) as file:
        assert file.read() == f'{runner.work_dir}/{SAVED}'


def finish(runner):
    """Train to the end."""
    runner.train()
    names = os.listdir(runner.work_dir)
    assert f'epoch_{EPOCHS}.pth' in names and SAVED not in names


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    """The last weight of a run without SIGTERM, by number of workers."""
    weights = {}
    for workers in (0, 2):
        folder = tmp_path_factory.mktemp('unbroken')
        noisy_runner(folder, workers=workers).train()
        weights[workers] = last_weights(folder)
    return weights


@pytest.mark.parametrize('iteration', range(ITERATIONS))
def test_the_resumed_run_ends_with_the_weights_of_an_unbroken_one(
    unbroken, tmp_path, iteration
):
    terminate(noisy_runner(tmp_path), iteration)
    finish(noisy_runner(tmp_path))
    assert last_weights(tmp_path) == unbroken[0]


def test_workers_outlive_the_signal(unbroken, tmp_path):
    terminate(noisy_runner(tmp_path, workers=2), 2)
    finish(noisy_runner(tmp_path, workers=2))
    assert last_weights(tmp_path) == unbroken[2]


PERSISTENT_WORKERS = """
import sys
from support.toy_run import toy_runner
from projects.sprnet.runtime import PreemptionHook

runner = toy_runner(sys.argv[1], save_best='toy/figure', rule='greater')
runner._val_dataloader.update(num_workers=1, persistent_workers=True)
runner.register_hook(PreemptionHook())
runner.train()
print('trained', flush=True)
"""


def test_workers_end_with_their_process(tmp_path):
    paths = [ROOT, ROOT / 'tests', ROOT / 'tools']
    done = subprocess.run(
        [sys.executable, '-c', PERSISTENT_WORKERS, str(tmp_path)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.endswith('trained\n'), done.stderr
    assert done.returncode == 0
    assert 'killed' not in done.stderr


def test_two_signals_in_one_epoch(unbroken, tmp_path):
    for iteration in (2, 3):
        terminate(noisy_runner(tmp_path), iteration)
    finish(noisy_runner(tmp_path))
    assert last_weights(tmp_path) == unbroken[0]


def test_no_gradient_is_left_behind(tmp_path):
    def runner(folder):
        made = noisy_runner(folder)
        made.optim_wrapper.update(accumulative_counts=2)
        return made

    runner(tmp_path / 'unbroken').train()
    terminate(runner(tmp_path / 'run'), 2)
    assert torch.load(tmp_path / 'run' / SAVED)['meta']['iter'] == 4
    finish(runner(tmp_path / 'run'))
    weight = last_weights(tmp_path / 'unbroken')
    assert last_weights(tmp_path / 'run') == weight


def test_an_epoch_of_other_batches_starts_anew(tmp_path, monkeypatch):
    terminate(noisy_runner(tmp_path), 2)
    runner = noisy_runner(tmp_path)
    runner._train_dataloader['batch_size'] = 1
    said = []
    monkeypatch.setattr(runner.logger, 'warning', said.append)
    finish(runner)
    (sentence,) = (s for s in said if 'starts anew' in s)
    assert '2 batches on 1 ranks' in sentence and '4 on 1' in sentence
    assert runner.iter == 3 + 4 * (EPOCHS - 1)


def test_weights_alone_start_the_first_epoch(tmp_path):
    """An interrupted run's checkpoint can also be fine-tuned."""
    terminate(noisy_runner(tmp_path / 'run'), 2)
    runner = noisy_runner(tmp_path / 'tuned')
    runner._load_from = str(tmp_path / 'run' / SAVED)
    runner._resume = False
    finish(runner)
    assert runner.iter == ITERATIONS


@pytest.mark.parametrize(
    'state, requeued',
    [('RUNNING', True), ('CANCELLED', False), ('COMPLETING', False)],
)
def test_slurm_requeues_a_running_job(state, requeued, tmp_path, monkeypatch):
    calls = tmp_path / 'calls'
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text(
        f'#!/bin/sh\necho "$@" >>{calls}\necho "JobId=7 JobState={state} X=1"'
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.setenv('SLURM_JOB_ID', '7')
    terminate(noisy_runner(tmp_path / 'run'), 1)
    said = calls.read_text().splitlines()
    assert said == ['show job 7'] + requeued * ['requeue 7']


def test_what_slurm_refuses_is_logged(tmp_path, monkeypatch):
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text(
        '#!/bin/sh\necho JobState=RUNNING\necho no batch job >&2\n'
        '[ $1 = show ]\n'
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.setenv('SLURM_JOB_ID', '7')
    runner, said = noisy_runner(tmp_path / 'run'), []
    monkeypatch.setattr(runner.logger, 'warning', said.append)
    terminate(runner, 1)
    assert said[-1].endswith('requeue job 7: no batch job')


def train_as_rank(rank, folder, store, terminated):
    """Train as one of two ranks; SIGTERM reaches the second alone."""
    dist.init_process_group('gloo', f'file://{store}', rank=rank, world_size=2)
    runner = toy_runner(folder, Noisy)
    runner.register_hook(PreemptionHook(interval=2))
    if terminated and rank == 1:
        runner.register_hook(Terminate(0))
    runner.train()


def train_two_ranks(folder, store, terminated=False):
    """Return the exit codes of two ranks."""
    return exit_codes(
        *(
            start(train_as_rank, rank, folder, store, terminated)
            for rank in range(2)
        )
    )


def test_ranks_end_together(tmp_path):
    unbroken, run = tmp_path / 'unbroken', tmp_path / 'run'
    assert train_two_ranks(unbroken, tmp_path / 'a') == [0, 0]
    assert train_two_ranks(run, tmp_path / 'b', True) == [143, 143]
    checkpoint = torch.load(run / SAVED)
    assert checkpoint['meta']['iter'] == 2
    first, second = checkpoint['interrupted']['random']
    assert not torch.equal(first['torch'], second['torch'])
    assert train_two_ranks(run, tmp_path / 'c') == [0, 0]
    assert last_weights(run) == last_weights(unbroken)
