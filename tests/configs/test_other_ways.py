"""Other ways of using MMDetection: its own checkout, pure Python configs."""

import shutil
import subprocess
import sys

from common.configs import load_config, load_model
from common.mmdet_scripts import SCRIPTS

import check_dataset
import predict
import pytest
from mmengine.config import Config
from support.commands import SMALL, run, run_here, small, weights
from support.helpers import CONFIGS, ROOT
from support.in_process import run_command, val_images

PURE_PYTHON = """
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets.transforms import LoadAnnotations, PackDetInputs, Resize
from mmdet.models import CrossEntropyLoss
from mmengine.config import read_base

from projects.sprnet import (
    GFPN,
    MultiScaleFusion,
    OverlapLocationSampler,
    ShortcutPixelDecoder,
    SPRHead,
    SPRNet,
)
from projects.sprnet.runtime import (
    CheckedCocoDataset,
    CheckpointMatchHook,
    CocoAPARMetric,
    FiniteLossHook,
    WholeCheckpointHook,
)

with read_base():
    from .retinanet import *

model.update(
    type=SPRNet,
    mask_head=dict(
        type=SPRHead,
        sampler=dict(
            type=OverlapLocationSampler, threshold=0.7, max_locations=300
        ),
        encoder=dict(
            type=MultiScaleFusion,
            channels=(32, 16, 16, 16),
            kernels=(1, 3, 3, 3),
            dilations=(1, 2, 4, 6),
        ),
        decoder=dict(type=ShortcutPixelDecoder, channels=32),
        loss_mask=dict(type=CrossEntropyLoss, use_sigmoid=True),
    ),
)
model['neck'].update(type=GFPN)
train_dataloader['dataset'].update(
    type=CheckedCocoDataset,
    pipeline=[
        dict(type=LoadImageFromFile),
        dict(type=LoadAnnotations, with_bbox=True, with_mask=True),
        dict(type=Resize, scale=(192, 192), keep_ratio=True),
        dict(type=PackDetInputs),
    ],
)
test_dataloader['dataset'].update(
    type=CheckedCocoDataset,
    pipeline=[
        dict(type=LoadImageFromFile),
        dict(type=Resize, scale=(192, 192), keep_ratio=True),
        dict(type=LoadAnnotations, with_bbox=True, with_mask=True),
        dict(type=PackDetInputs),
    ],
)
val_dataloader = test_dataloader
test_evaluator.update(type=CocoAPARMetric, metric=['bbox', 'segm'])
val_evaluator = test_evaluator
default_hooks.update(
    checkpoint=dict(type=WholeCheckpointHook),
    checkpoint_match=dict(type=CheckpointMatchHook),
    finite_loss=dict(type=FiniteLossHook),
)
"""


def copy_modules(checkout):
    """Copy the modules into a checkout; return the import path."""
    source = ROOT / 'projects' / 'sprnet'
    shutil.copytree(source, checkout / 'projects' / 'sprnet')
    return '.'


def install_modules(checkout):
    """Install the modules beside a checkout; return the import path."""
    copy, target = checkout / 'copy', checkout / 'site'
    for name in ('projects', 'tools', 'configs'):  # packages by their look
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / 'pyproject.toml', copy)
    command = [sys.executable, '-m', 'pip', 'install', '--no-deps', '-q']
    options = ['--no-build-isolation', '--no-index', '--target', target, copy]
    subprocess.run(list(map(str, command + options)), check=True)
    return str(target)


@pytest.mark.parametrize('bring', [copy_modules, install_modules])
def test_an_mmdetection_checkout_trains(bring, shapes, tmp_path):
    """With its own tools, as the README says."""
    path = bring(tmp_path)
    shutil.copytree(SCRIPTS, tmp_path / 'tools')
    shutil.copytree(CONFIGS, tmp_path / 'configs' / 'sprnet')
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'shapes').symlink_to(shapes)
    train = [sys.executable, 'tools/train.py']
    train += ['configs/sprnet/sprnet_r18_gfpn_shapes.py', '--cfg-options']
    done = run([*train, *SMALL], tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob('work_dirs/*/epoch_1.pth')
    assert 'mask_head.decoder.classifier.weight' in weights(file)


@pytest.fixture(scope='module')
def trained(shapes, tmp_path_factory):
    """A folder with a pure Python config and its run."""
    folder = tmp_path_factory.mktemp('pure')
    base = CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py'
    Config.fromfile(base).dump(folder / 'retinanet.py')
    (folder / 'config.py').write_text(PURE_PYTHON)
    options = small(shapes, 'train_cfg.max_epochs=1')
    run_here(folder, 'train.py', 'config.py', '--work-dir', 'run', *options)
    return folder


def test_a_pure_python_config_is_checked(trained, shapes, capsys):
    options = ('--cfg-options', f'data_root={shapes}')
    run_command(check_dataset, trained / 'config.py', *options)
    assert capsys.readouterr().out.count('no faults') == 2


def test_a_pure_python_config_is_exported(trained, shapes):
    graph = pytest.importorskip('onnx_export.graph')
    narrow = {
        'model.backbone.base_channels': 8,
        'model.neck.in_channels': [8, 16, 32, 64],
    }
    config = load_config(trained / 'config.py', narrow)
    model = load_model(config, trained / 'run' / 'epoch_1.pth', 'cpu')
    assert graph.metadata(model, config)['scale'] == (192, 192)


def test_a_moved_pure_python_config_predicts(trained, shapes, tmp_path):
    (dumped,) = (trained / 'run').glob('*.py')
    moved = shutil.copy(dumped, tmp_path / 'moved.py')
    image = val_images(shapes)[0]
    run_command(
        predict,
        moved,
        trained / 'run' / 'epoch_1.pth',
        image,
        '--out-dir',
        tmp_path,
    )
    assert (tmp_path / 'vis' / image.name).is_file()
