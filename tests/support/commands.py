"""Run the commands on a small model, and compare the weights they write."""

import os
import subprocess
import sys
from pathlib import Path

from common.mmdet_scripts import run_script

import pytest
import torch

from .helpers import ROOT, SHAPES_CONFIG

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


def small(shapes: Path, *options: str) -> list[str]:
    """The arguments that make a config small and move its data."""
    return ['--cfg-options', f'data_root={shapes}', *SMALL, *options]


def command(tool: str, *arguments: object) -> list[str]:
    """The command line of a Python or shell tool of this repository."""
    python = [] if tool.endswith('.sh') else [sys.executable]
    return [*python, *map(str, (ROOT / 'tools' / tool, *arguments))]


def three_epochs(
    shapes: Path, *arguments: object, folder: object = 'run', options=()
) -> list[str]:
    """The command that trains to epoch 3 in a folder."""
    options = small(shapes, 'train_cfg.max_epochs=3', *options)
    where = ('--work-dir', folder)
    return command('train.py', SHAPES_CONFIG, *where, *arguments, *options)


def environment(**variables: str) -> dict[str, str]:
    """The environment of a command."""
    fixed = dict(OMP_NUM_THREADS='1', PYTHON=sys.executable)
    return {**os.environ, **fixed, **variables}


def run(
    words: list[str], folder: Path, **variables: str
) -> subprocess.CompletedProcess:
    """Run a command in a folder, with more environment variables."""
    return subprocess.run(
        words,
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
    )


def run_here(folder: Path, script: str, *arguments: object) -> None:
    """Run a script of mmdet's in this process, in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, 'argv', [script, *map(str, arguments)])
        patch.setattr(sys, 'path', list(sys.path))
        run_script(script)


def coco_figures(done: subprocess.CompletedProcess) -> str:
    """The rows of the table of COCO's figures, as test.py shows them."""
    rows = [
        line
        for line in done.stdout.splitlines()
        if line.startswith(('| bbox', '| segm'))
    ]
    assert len(rows) == 2, done.stdout
    return '\n'.join(rows)


def weights(file: Path | str) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint."""
    return torch.load(file, map_location='cpu')['state_dict']


def same_weights(one: dict, other: dict) -> bool:
    """Whether two checkpoints' weights are equal, bit for bit."""
    return one.keys() == other.keys() and all(
        torch.equal(one[key], other[key]) for key in one
    )
