"""Trainings that are killed and go on: their weights are those of one that was
not, bit for bit. Run by `make soak`."""

import os
import random
import resource
import signal
import subprocess
import time

from soak.conftest import last_weights, same_weights, training
from support.helpers import ROOT
from tools.test_mmdet_tool import environment, run

KILLS = 20
DYING = ROOT / 'tests' / 'support' / 'dying_train.py'


def start(command, folder) -> subprocess.Popen:
    """Start a training; returns when it has begun its log."""
    logs = len(list(folder.glob('*/*.log')))
    process = subprocess.Popen(
        command,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while len(list(folder.glob('*/*.log'))) == logs:
        assert process.poll() is None, 'ended before it logged anything'
        time.sleep(0.01)
    return process


def test_killed_at_random_moments(unbroken, shapes, tmp_path, record_property):
    moments, kills, runs = random.Random(0), 0, 0
    while kills < KILLS:
        runs += 1
        folder = tmp_path / str(runs)
        folder.mkdir()
        command = training(shapes, folder)
        ended = False
        while not ended:
            process = start(command, folder)
            if kills < KILLS:
                time.sleep(moments.uniform(0, unbroken.seconds))
            else:
                process.wait()
            ended = process.poll() is not None
            if ended:
                assert process.returncode == 0
            else:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
            if (folder / 'last_checkpoint').exists():
                last_weights(folder)
        assert same_weights(last_weights(folder), unbroken.weights)
        names = {path.name for path in folder.glob('*.p*')}
        assert names == {'epoch_3.pth', *(p.name for p in folder.glob('*.py'))}
    record_property(
        f'SIGKILL at a random moment of a training of 3 epochs, resumed; '
        f'{runs} trainings',
        (kills, 'nothing: the weights of the unbroken run, bit for bit'),
    )


def test_killed_while_writing(unbroken, shapes, tmp_path, record_property):
    for which in range(1, 7):  # three checkpoints, three markers
        folder = tmp_path / str(which)
        folder.mkdir()
        python, tool, *arguments = training(shapes, folder)
        dead = run([python, DYING, which, *arguments], folder)
        assert dead.returncode == -signal.SIGKILL, dead.stderr
        assert len(list(folder.glob('*.part'))) == 1
        assert (folder / 'last_checkpoint').exists() == (which > 2)
        if which > 2:
            last_weights(folder)
        done = run([python, tool, *arguments], folder)
        assert done.returncode == 0, done.stderr
        assert same_weights(last_weights(folder), unbroken.weights)
        assert not list(folder.glob('*.part'))
    record_property(
        'SIGKILL when half of a checkpoint, or of the file that names the '
        'last one, is written; resumed',
        (which, 'nothing: the same weights'),
    )


def test_the_disk_is_full_once(unbroken, shapes, tmp_path, record_property):
    """As which a limit to the size of files serves: write() fails."""
    command = training(shapes, tmp_path)
    size = (unbroken.folder / 'epoch_3.pth').stat().st_size
    python, _, *arguments = command
    dead = run([python, DYING, 3, *arguments], tmp_path)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    done = subprocess.run(
        command,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (size // 2, size // 2)
        ),
    )
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith('train.py: ') and 'epoch_2.pth' in said
    assert {p.name for p in tmp_path.glob('*.pth*')} == {'epoch_1.pth'}
    done = run(command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert same_weights(last_weights(tmp_path), unbroken.weights)
    record_property(
        'disk full while a checkpoint is written; resumed',
        (1, 'nothing: the earlier checkpoint stays, the same weights'),
    )
