"""Trainings that are killed and resumed end with the weights of one that was
not killed, bit for bit. Run by `make soak`."""

import os
import random
import resource
import signal
import subprocess
import time

from soak.conftest import last_weights, resumable
from support.commands import command, environment, run, same_weights
from support.helpers import ROOT, SHAPES_CONFIG

KILLS = 20
DYING = str(ROOT / 'tests' / 'support' / 'dying_train.py')


def dying(shapes, folder, which) -> list[str]:
    """:func:`resumable`, killed at the which-th file that it writes."""
    python, _, *arguments = resumable(shapes, folder)
    return [python, DYING, str(which), *arguments]


def start(command, folder) -> subprocess.Popen:
    """Start a training; returns when its log exists."""
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


def finish(command, folder, unbroken) -> None:
    """Run a training to its end and compare its weights."""
    done = run(command, folder)
    assert done.returncode == 0, done.stderr
    assert same_weights(last_weights(folder), unbroken.weights)


def test_killed_at_random_moments(unbroken, shapes, tmp_path, record_property):
    moments, kills, runs = random.Random(0), 0, 0
    while kills < KILLS:
        runs += 1
        folder = tmp_path / str(runs)
        folder.mkdir()
        ended = False
        while not ended:
            process = start(resumable(shapes, folder), folder)
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
    for which in range(1, 7):  # three checkpoints, three last_checkpoint files
        folder = tmp_path / str(which)
        folder.mkdir()
        dead = run(dying(shapes, folder, which), folder)
        assert dead.returncode == -signal.SIGKILL, dead.stderr
        assert len(list(folder.glob('*.part'))) == 1
        assert (folder / 'last_checkpoint').exists() == (which > 2)
        if which > 2:
            last_weights(folder)
        finish(resumable(shapes, folder), folder, unbroken)
        assert not list(folder.glob('*.part'))
    record_property(
        'SIGKILL when half of a checkpoint, or of the file that names the '
        'last one, is written; resumed',
        (which, 'nothing: the same weights'),
    )


def test_the_disk_is_full_once(unbroken, shapes, tmp_path, record_property):
    """A limit on the size of files stands for a full disk: write() fails."""
    command = resumable(shapes, tmp_path)
    limit = (unbroken.folder / 'epoch_3.pth').stat().st_size // 2
    dead = run(dying(shapes, tmp_path, 3), tmp_path)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    done = subprocess.run(
        command,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (limit, limit)
        ),
    )
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert message.startswith('train.py: ') and 'epoch_2.pth' in message
    assert {p.name for p in tmp_path.glob('*.pth*')} == {'epoch_1.pth'}
    finish(command, tmp_path, unbroken)
    record_property(
        'disk full while a checkpoint is written; resumed',
        (1, 'nothing: the earlier checkpoint stays, the same weights'),
    )


def test_a_table_is_stopped(shapes, tmp_path, record_property):
    """SIGTERM to the command itself while it trains, and the command again."""
    (tmp_path / 'tables.yml').write_text(
        f"""
- table: one
  title: One
  columns: [row]
  metrics: [segm_mAP_50, segm_AR_100]
  rows:
  - labels: [SPRNet]
    cells: {SHAPES_CONFIG}
"""
    )
    words = [
        *('--run', 'one', '--data', 'cells', '--tables', 'tables.yml'),
        *('--work-dir', 'runs', '--data-root', shapes, '--seeds', '5'),
        '--cfg-options',
        'model.backbone.base_channels=8',
        'model.neck.in_channels=[8,16,32,64]',
        'model.test_cfg.score_thr=0.0',
        'train_dataloader.num_workers=0',
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
        'train_cfg.max_epochs=3',
        'train_cfg.val_interval=9',
        'train_cfg.val_begin=9',
        'default_hooks.logger.interval=1',
    ]
    stopped = command('paper_tables.py', *words)
    options = dict(cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    folder = tmp_path / 'runs' / SHAPES_CONFIG.stem / 'seed-5'
    first = subprocess.Popen(stopped, **options)
    while not (folder / 'last_checkpoint').is_file():
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.02)
    first.terminate()
    _, messages = first.communicate()
    assert first.returncode == 1 and 'the same command continues' in messages
    assert not (folder / 'test').exists()

    second = subprocess.run(stopped, **options, stdout=subprocess.PIPE)
    assert second.returncode == 0, second.stderr
    assert 'resumed epoch: 1' in (folder / 'output.log').read_text()
    row = second.stdout.splitlines()[-1]
    assert f'| SPRNet | measured: `{SHAPES_CONFIG.stem}` | 1 run of 3' in row
    assert float(row.split('|')[-2]) >= 0
    record_property(
        'SIGTERM at a command that trains the runs of a table, and the '
        'command again',
        (1, 'nothing: it resumes the run and prints the table'),
    )
