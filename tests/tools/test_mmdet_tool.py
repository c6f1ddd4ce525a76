"""MMDetection's train.py and test.py, run as a user runs them."""

import json
import os
import sys

from common.cli import OptionAction, add_cfg_options, parser_of
from common.configs import load_config
from common.mmdet_scripts import (
    data_options,
    drawing_options,
    mixed_precision,
    resume_or_start,
    with_options,
    worker_options,
)

import predict
import pytest
import torch
from mmengine.config import Config
from support.commands import (
    command,
    run,
    run_here,
    same_weights,
    small,
    three_epochs,
    weights,
)
from support.helpers import ROOT, SHAPES_CONFIG

from projects.sprnet.errors import InputError

SEED = 'randomness.seed=1'


@pytest.fixture(scope='module')
def trained(shapes, tmp_path_factory):
    """A run of three epochs, started outside of the repository and beside
    another package called `projects`."""
    place = tmp_path_factory.mktemp('elsewhere')
    other = place / 'site' / 'projects'
    other.mkdir(parents=True)
    (other / '__init__.py').write_text('raise ImportError("the wrong one")')
    train = three_epochs(shapes, options=[SEED])
    done = run(train, place, PYTHONPATH=str(place / 'site'))
    assert done.returncode == 0, done.stderr
    (place / 'stdout').write_text(done.stdout)
    return place / 'run'


def test_trains_from_any_directory_beside_another_projects(trained):
    assert (trained / 'epoch_3.pth').is_file()
    (log,) = trained.glob('*/*.log')
    assert 'loss_mask' in log.read_text() and 'eta' in log.read_text()


def test_the_terminal_shows_what_matters(trained):
    """The file has the rest, and the written config serves without us."""
    shown = (trained.parent / 'stdout').read_text()
    lines = [x for x in shown.splitlines() if 'Epoch(train)' not in x]
    assert 5 < len(lines) < 25
    for words in (SHAPES_CONFIG.stem, 'million parameters', 'on the CPU'):
        assert words in shown
    assert 'Config:' not in shown and 'Hooks will be' not in shown
    (log,) = trained.glob('*/*.log')
    text = log.read_text()
    assert 'System environment:' in text and 'Config:' in text
    (config,) = trained.glob('*.py')
    assert 'runner_type' not in Config.fromfile(config)


def check_last_epoch(unbroken, resumed):
    last = weights(resumed / 'epoch_3.pth')
    assert same_weights(weights(unbroken / 'epoch_3.pth'), last)
    assert not same_weights(weights(unbroken / 'epoch_2.pth'), last)


def test_a_resumed_run_uses_the_seed_of_its_checkpoint(
    trained, shapes, tmp_path
):
    resume = three_epochs(shapes, '--resume', trained / 'epoch_2.pth')
    done = run(resume, tmp_path)
    assert done.returncode == 0, done.stderr
    check_last_epoch(trained, tmp_path / 'run')


def test_test_measures_and_draws(trained, shapes, tmp_path):
    tested = (SHAPES_CONFIG, trained / 'epoch_3.pth')
    where = ('--work-dir', 'out', '--show-dir', tmp_path / 'pictures')
    run_here(tmp_path, 'test.py', *tested, *where, *small(shapes))
    (file,) = tmp_path.glob('out/*/*.json')
    figures = json.loads(file.read_text())
    assert figures['coco/bbox_mAP'] >= 0 and figures['coco/segm_mAP'] >= 0
    assert len(list((tmp_path / 'pictures').glob('*.jpg'))) == 5


def test_predicts_from_a_checkpoint(trained, shapes, tmp_path, monkeypatch):
    image = next((shapes / 'val2017').glob('*.jpg'))
    (config,) = trained.glob('*.py')
    argv = [config, trained / 'epoch_3.pth', image, '--out-dir', tmp_path]
    monkeypatch.setattr(sys, 'argv', ['predict.py', *map(str, argv)])
    predict.main()
    assert (tmp_path / 'vis' / image.name).is_file()
    assert (tmp_path / 'preds' / f'{image.stem}.json').is_file()


@pytest.mark.parametrize(
    'config, options, missing',
    [
        ('nowhere.py', [], 'nowhere.py'),
        ('nowhere.py', ['--cfg-options', 'data_root=x'], 'nowhere.py'),
        (
            SHAPES_CONFIG,
            ['--cfg-options', 'data_root=nowhere'],
            'nowhere/annotations/instances_train2017.json',
        ),
    ],
)
def test_a_missing_file_is_named(config, options, missing, tmp_path):
    with pytest.raises(SystemExit, match=f'^train.py: .*{missing}'):
        run_here(tmp_path, 'train.py', config, *options)


@pytest.mark.parametrize(
    'option, words',
    [
        ('max_epochs=2', f'{SHAPES_CONFIG} has handed max_epochs on already'),
        ('resize.scale=(64,64)', 'has handed resize on already'),
        ('trian_cfg.max_epochs=2', 'nothing reads trian_cfg'),
    ],
)
def test_options_that_change_nothing_are_refused(option, words, tmp_path):
    arguments = SHAPES_CONFIG, '--cfg-options', 'randomness.seed=1', option
    with pytest.raises(SystemExit) as end:
        run_here(tmp_path, 'train.py', *arguments)
    assert str(end.value).startswith('train.py: --cfg-options ')
    assert words in str(end.value) and not any(tmp_path.iterdir())
    with pytest.raises(InputError, match=words):
        key, _, value = option.partition('=')
        load_config(SHAPES_CONFIG, {key: value})


def test_a_missing_checkpoint_is_named_at_once(tmp_path):
    (tmp_path / 'epoch_5.pth').touch()
    missing = tmp_path / 'epoch_36.pth'
    with pytest.raises(SystemExit) as end:
        run_here(tmp_path, 'test.py', SHAPES_CONFIG, missing)
    words = f'test.py: {missing} does not exist; its folder has epoch_5.pth'
    assert end.value.code == words


@pytest.mark.parametrize(
    'script, flags',
    [
        ('train.py', ['--amp', '--auto-scale-lr', '--launcher']),
        ('test.py', ['--show-dir', '--out', '--tta', '--launcher']),
    ],
)
def test_flags_are_those_of_mmdetection(script, flags, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run_here(tmp_path, script, '--help')
    usage = capsys.readouterr().out
    assert usage.startswith(f'usage: {script}')
    assert all(flag in usage for flag in flags)


def test_data_root_moves_every_path_of_the_data():
    argv = [str(SHAPES_CONFIG), '--cfg-options', 'data_root=/new']
    moved = dict(option.split('=', 1) for option in data_options(argv))
    cfg = Config.fromfile(SHAPES_CONFIG)
    cfg.merge_from_dict(moved)
    assert 'data/shapes' not in cfg.pretty_text
    assert cfg.train_dataloader.dataset.data_root == '/new/'
    assert (
        cfg.val_evaluator.ann_file == '/new/annotations/instances_val2017.json'
    )
    assert data_options([*argv[:2], 'a=1']) == []


def test_options_of_the_user_win_over_added_ones():
    assert with_options(
        ['c.py', '--cfg-options', 'a=1', '--amp'], ['a=0', 'b=0']
    ) == ['c.py', '--cfg-options', 'a=0', 'b=0', 'a=1', '--amp']
    assert with_options(['c.py'], ['b=0']) == ['c.py', '--cfg-options', 'b=0']
    assert with_options(['c.py'], []) == ['c.py']


@pytest.mark.parametrize(
    'script, too_few',
    [
        ('dist_train.sh', 'a'),
        ('dist_test.sh', 'ab'),
        ('slurm_train.sh', 'abc'),
        ('slurm_test.sh', 'abc'),
    ],
)
def test_shell_tools_print_their_usage(script, too_few, tmp_path):
    done = run(command(script, *too_few), tmp_path)
    assert done.returncode == 2 and done.stderr.startswith('usage: ')


def test_slurm_tools_call_srun(tmp_path):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    done = run(
        command('slurm_train.sh', 'part', 'job', 'c.py', 'dir', '--amp'),
        tmp_path,
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
        GPUS='16',
        SRUN_ARGS='--time=60 --exclusive',
    )
    words = done.stdout.splitlines()
    assert words[:3] == ['--partition=part', '--job-name=job', '--gres=gpu:8']
    assert '--ntasks=16' in words and '--exclusive' in words
    arguments = ['c.py', '--work-dir', 'dir', '--amp', '--launcher', 'slurm']
    assert words[-7:] == [f'{ROOT}/tools/train.py', *arguments]


@pytest.mark.parametrize(
    'script, gpu, remaining, options',
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
def test_amp(script, gpu, remaining, options, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    assert mixed_precision(script, ['a.py', '--amp']) == (remaining, options)
    assert mixed_precision(script, ['a.py']) == (['a.py'], [])


def test_resume_without_a_checkpoint_keeps_load_from(tmp_path, capsys):
    arguments = [str(SHAPES_CONFIG), '--work-dir', str(tmp_path), '--resume']
    assert resume_or_start(arguments) == arguments[:-1]
    assert f'{tmp_path} has no checkpoint' in capsys.readouterr().out
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    assert resume_or_start(arguments) == arguments
    assert not capsys.readouterr().out
    anew = arguments[:-1]
    assert resume_or_start(anew) == anew
    assert 'has epoch_1.pth of an earlier training' in capsys.readouterr().out
    explicit = [str(SHAPES_CONFIG), '--resume', 'epoch_1.pth']
    assert resume_or_start(explicit) == explicit


def test_mmdets_visualizer_is_replaced_and_anothers_kept(tmp_path):
    config = tmp_path / 'config.py'
    for kind, options in (
        ('DetLocalVisualizer', ['visualizer.type=FolderVisualizer']),
        ('Visualizer', []),
    ):
        config.write_text(f'visualizer = dict(type={kind!r})')
        assert drawing_options('test.py', [str(config)]) == options
        assert drawing_options('train.py', [str(config)]) == []
        changed = {'visualizer.labels': 'never'}
        visualizer = load_config(config, changed).visualizer
        expected = options[0].split('=')[1] if options else kind
        assert visualizer == dict(type=expected, labels='never')


def test_loaders_without_workers_keep_none():
    arguments = ['a.py', 'val_dataloader.num_workers=0', 'b.num_workers=0']
    expected = ['val_dataloader.persistent_workers=False']
    assert worker_options(arguments) == expected


def test_paths_keep_spaces_and_commas(monkeypatch):
    monkeypatch.setattr(OptionAction, 'paths', {'data_root'})
    parser = parser_of('')
    add_cfg_options(parser)
    args = parser.parse_args(
        ['--cfg-options', 'data_root=my data, (old', 'a.b=[1,2]']
    )
    assert args.cfg_options == {'data_root': 'my data, (old', 'a.b': [1, 2]}
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'data_root'])
