"""The command-line tools, run as a user runs them."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from common.mmdet_scripts import mixed_precision, moved_paths, with_options
from mmengine.config import Config, DictAction
from support.helpers import ROOT, SHAPES_CONFIG

SMALL = [
    'model.backbone.base_channels=8',
    'model.neck.in_channels=[8,16,32,64]',
    'model.test_cfg.score_thr=0.0',
    'train_dataloader.num_workers=1',
    'train_dataloader.dataset.filter_cfg.filter_empty_gt=False',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
    'train_cfg.val_interval=10',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.max_keep_ckpts=-1',
]


def command(tool, shapes, *arguments, options=()):
    return [
        sys.executable,
        ROOT / 'tools' / tool,
        *arguments,
        '--cfg-options',
        f'data_root={shapes}',
        *SMALL,
        *options,
    ]


def three_epochs(shapes, *arguments, options=()):
    """The command that trains to epoch 3 in ./run."""
    return command(
        'train.py',
        shapes,
        SHAPES_CONFIG,
        '--work-dir',
        'run',
        *arguments,
        options=['train_cfg.max_epochs=3', *options],
    )


def environment(**variables):
    return {**os.environ, 'OMP_NUM_THREADS': '1', **variables}


def run(command, cwd, **variables):
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment(**variables),
        capture_output=True,
        text=True,
    )


def weights(file):
    return torch.load(file, map_location='cpu')['state_dict']


@pytest.fixture(scope='module')
def trained(shapes, tmp_path_factory):
    """A run of three epochs, from a directory that is not the project's and
    beside another package called `projects`."""
    place = tmp_path_factory.mktemp('elsewhere')
    other = place / 'site' / 'projects'
    other.mkdir(parents=True)
    (other / '__init__.py').write_text('raise ImportError("the wrong one")')
    done = run(
        three_epochs(shapes, options=['randomness.seed=1']),
        place,
        PYTHONPATH=str(place / 'site'),
    )
    assert done.returncode == 0, done.stderr
    return place / 'run'


def test_trains_from_any_directory_beside_another_projects(trained):
    assert (trained / 'epoch_3.pth').is_file()
    (log,) = trained.glob('*/*.log')
    assert 'loss_mask' in log.read_text() and 'eta' in log.read_text()


def test_a_killed_run_resumes_to_the_same_weights(trained, shapes, tmp_path):
    train = three_epochs(shapes, '--resume', options=['randomness.seed=1'])
    process = subprocess.Popen(
        list(map(str, train)),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    marker = tmp_path / 'run' / 'last_checkpoint'
    deadline = time.monotonic() + 120
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'run' / 'epoch_3.pth').exists()

    done = run(train, tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'resumed epoch' in done.stdout + done.stderr
    assert_same_weights(trained, tmp_path / 'run')


def assert_same_weights(unbroken, resumed):
    last = weights(unbroken / 'epoch_3.pth')
    found = weights(resumed / 'epoch_3.pth')
    assert last.keys() == found.keys()
    for key in last:
        assert torch.equal(last[key], found[key]), key
    before = weights(unbroken / 'epoch_2.pth')
    assert any(not torch.equal(before[key], found[key]) for key in last)


def test_a_resumed_run_goes_on_with_the_checkpoints_seed(
    trained, shapes, tmp_path
):
    done = run(
        three_epochs(shapes, '--resume', trained / 'epoch_2.pth'),
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert_same_weights(trained, tmp_path / 'run')


def coco_lines(done):
    return [
        line.split('Epoch(test)')[1].split('data_time')[0]
        for line in (done.stdout + done.stderr).splitlines()
        if 'Epoch(test)' in line and 'coco/' in line
    ]


def test_tests_and_draws(trained, shapes, tmp_path):
    pictures = tmp_path / 'pictures'
    done = run(
        command(
            'test.py',
            shapes,
            SHAPES_CONFIG,
            trained / 'epoch_3.pth',
            '--work-dir',
            'out',
            '--show-dir',
            pictures,
        ),
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (line,) = coco_lines(done)
    assert 'coco/bbox_mAP:' in line and 'coco/segm_mAP:' in line
    assert len(list(pictures.glob('*.jpg'))) == 5

    two = run(
        [
            ROOT / 'tools' / 'dist_test.sh',
            SHAPES_CONFIG,
            trained / 'epoch_3.pth',
            '2',
            *command('', shapes, '--work-dir', 'out2')[2:],
        ],
        tmp_path,
        PYTHON=sys.executable,
        PORT='29611',
    )
    assert two.returncode == 0, two.stderr
    assert [one.split(']', 1)[1] for one in coco_lines(two)] == [
        line.split(']', 1)[1]
    ]


def test_predicts_from_a_checkpoint(trained, shapes, tmp_path):
    image = next((shapes / 'val2017').glob('*.jpg'))
    config = next(trained.glob('*.py'))
    done = run(
        [
            sys.executable,
            ROOT / 'tools' / 'predict.py',
            config,
            trained / 'epoch_3.pth',
            image,
            '--out-dir',
            'out',
        ],
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'out' / 'vis' / image.name).is_file()
    assert (tmp_path / 'out' / 'preds' / f'{image.stem}.json').is_file()


def test_two_nodes_of_one_rank_each(shapes, tmp_path):
    nodes = [
        subprocess.Popen(
            list(
                map(
                    str,
                    [
                        ROOT / 'tools' / 'dist_train.sh',
                        SHAPES_CONFIG,
                        '1',
                        *command('', shapes, '--work-dir', 'run')[2:],
                        'train_cfg.max_epochs=1',
                    ],
                )
            ),
            cwd=tmp_path,
            env=environment(
                PORT='29612',
                PYTHON=sys.executable,
                NNODES='2',
                NODE_RANK=str(rank),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [node.communicate(timeout=300)[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], outputs
    # 12 images, batches of 4, two ranks: two batches an epoch.
    assert '[2/2]' in outputs[0]
    assert (tmp_path / 'run' / 'epoch_1.pth').is_file()


def test_missing_files_get_a_sentence(tmp_path):
    for arguments, name in (
        (['nowhere.py'], 'nowhere.py'),
        (['nowhere.py', '--cfg-options', 'data_root=x'], 'nowhere.py'),
        (
            [SHAPES_CONFIG, '--cfg-options', 'data_root=nowhere'],
            'nowhere/annotations/instances_train2017.json',
        ),
    ):
        done = run(
            [sys.executable, ROOT / 'tools' / 'train.py', *arguments], tmp_path
        )
        assert done.returncode == 1
        assert name in done.stderr.splitlines()[-1]
        assert done.stderr.splitlines()[-1].startswith('train.py: ')
        assert 'Traceback' not in done.stderr


@pytest.mark.parametrize(
    'tool,arguments',
    [
        ('train.py', ['--amp', '--auto-scale-lr', '--launcher']),
        ('test.py', ['--show-dir', '--out', '--tta', '--launcher']),
    ],
)
def test_flags_are_mmdetections_own(tool, arguments, tmp_path):
    done = run([sys.executable, ROOT / 'tools' / tool, '--help'], tmp_path)
    assert done.returncode == 0
    assert f'usage: {tool}' in done.stdout
    assert all(flag in done.stdout for flag in arguments)


def parsed(options):
    return {
        key: DictAction._parse_iterable(value)
        for key, value in (option.split('=', 1) for option in options)
    }


def test_data_root_moves_every_path_of_the_data():
    options = parsed(
        moved_paths([str(SHAPES_CONFIG), '--cfg-options', 'data_root=/new'])
    )
    cfg = Config.fromfile(SHAPES_CONFIG)
    cfg.merge_from_dict(options)
    assert 'data/shapes' not in cfg.pretty_text
    assert cfg.train_dataloader.dataset.data_root == '/new/'
    assert (
        cfg.val_evaluator.ann_file == '/new/annotations/instances_val2017.json'
    )
    assert moved_paths([str(SHAPES_CONFIG), '--cfg-options', 'a=1']) == []


def test_given_options_win_over_added_ones():
    assert with_options(
        ['c.py', '--cfg-options', 'a=1', '--amp'], ['a=0', 'b=0']
    ) == ['c.py', '--cfg-options', 'a=0', 'b=0', 'a=1', '--amp']
    assert with_options(['c.py'], ['b=0']) == ['c.py', '--cfg-options', 'b=0']
    assert with_options(['c.py'], []) == ['c.py']


@pytest.mark.parametrize(
    'script,fewer',
    [
        ('dist_train.sh', ['a']),
        ('dist_test.sh', ['a', 'b']),
        ('slurm_train.sh', ['a', 'b', 'c']),
        ('slurm_test.sh', ['a', 'b', 'c']),
    ],
)
def test_shell_tools_say_how_they_are_used(script, fewer, tmp_path):
    done = run([ROOT / 'tools' / script, *fewer], tmp_path)
    assert done.returncode == 2 and done.stderr.startswith('usage: ')


def test_slurm_tools_call_srun(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    done = run(
        [
            ROOT / 'tools' / 'slurm_train.sh',
            'part',
            'job',
            'c.py',
            'dir',
            '--amp',
        ],
        tmp_path,
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
        GPUS='16',
        SRUN_ARGS='--time=60 --exclusive',
    )
    words = done.stdout.splitlines()
    assert words[:3] == ['--partition=part', '--job-name=job', '--gres=gpu:8']
    assert '--ntasks=16' in words and '--exclusive' in words
    assert words[-7:] == [
        f'{ROOT}/tools/train.py',
        'c.py',
        '--work-dir',
        'dir',
        '--amp',
        '--launcher',
        'slurm',
    ]


@pytest.mark.parametrize(
    'script, gpu, left, options',
    [
        ('train.py', True, ['a.py', '--amp'], []),
        (
            'train.py',
            False,
            ['a.py'],
            ['optim_wrapper.type=BFloat16OptimWrapper'],
        ),
        ('test.py', True, ['a.py'], ['test_cfg.fp16=True']),
        ('test.py', False, ['a.py'], ['test_cfg.fp16=True']),
    ],
)
def test_amp(script, gpu, left, options, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    assert mixed_precision(script, ['a.py', '--amp']) == (left, options)
    assert mixed_precision(script, ['a.py']) == (['a.py'], [])
