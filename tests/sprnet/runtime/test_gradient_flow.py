"""Gradients from pyramid levels into backbone maps, and their hook."""

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.models.necks import FPN
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from support.helpers import CONFIGS, SHAPES_CONFIG, build_model, sample
from torch import nn

from projects.sprnet import GFPN
from projects.sprnet.runtime import GradientFlowHook
from projects.sprnet.runtime.gradient_flow import (
    by_level,
    draw_gradient_flow,
    gradient_norms,
    logged_curves,
)
from projects.sprnet.structures import Features

RETINANET_CONFIG = CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py'
SAMPLES = [
    sample([(10, 20, 60, 90), (70, 60, 128, 128)], [0, 3]),
    sample([(5, 5, 122, 100)], [2]),
]


@pytest.fixture(autouse=True)
def stance():
    """A training that fails while it is measured leaves code uncompiled."""
    yield
    torch.compiler.set_stance('default')


@pytest.mark.parametrize(
    'neck,shares',
    [(FPN, (1, 1, 1)), (GFPN, (0.5, 0.25, 0.25))],
    ids=['FPN', 'GFPN'],
)
def test_closed_form_of_plain_sums(neck, shares):
    """With identity convolutions and gates of one half, the sum of P3 has the
    gradient 1 in each element of C3, 4 in C4 and 16 in C5."""
    neck = neck([6, 6, 6], 6, 3)
    for name, weight in neck.named_parameters():
        nn.init.zeros_(weight)
        if name.endswith('conv.weight') and 'gates' not in name:
            nn.init.dirac_(weight)
    maps = {
        level: torch.randn(2, 6, 64 // 2**level, 64 // 2**level)
        for level in (3, 4, 5)
    }
    for x in maps.values():
        x.requires_grad_()
    levels = by_level(neck(list(maps.values())), 64)
    norms = gradient_norms(levels[3].sum(), maps, levels)
    for k, share in zip((3, 4, 5), shares):
        expected = share * 4 ** (k - 3) * maps[k].numel() ** 0.5
        assert norms[3, k] == pytest.approx(expected)
        assert norms[max(k, 4), 5] == 0


def model_and_inputs(config, neck):
    model = build_model(config, **{'neck.type': neck}).train()
    torch.manual_seed(1)
    return model, dict(
        inputs=torch.randn(2, 3, 128, 128), data_samples=SAMPLES
    )


def measure(model, data):
    """The losses of one forward pass, and the norms that the hook logs."""
    hub = MessageHub(f'test {id(data)}')
    runner = SimpleNamespace(model=model, iter=0, message_hub=hub)
    hook = GradientFlowHook(interval=1)
    hook.before_train_iter(runner, 0)
    losses = model(**data, mode='loss')
    hook.after_train_iter(runner, 0)
    return losses, {k: v.item() for k, v in logged_curves(runner).items()}


@pytest.mark.parametrize(
    'config,neck',
    [
        (SHAPES_CONFIG, 'GFPN'),
        (SHAPES_CONFIG, 'FPN'),
        (SHAPES_CONFIG, 'PooledGFPN'),
        (RETINANET_CONFIG, 'GFPN'),
        (RETINANET_CONFIG, 'FPN'),
    ],
    ids=lambda value: value if isinstance(value, str) else value.stem,
)
def test_norms_belong_to_each_levels_own_loss(config, neck):
    """Compare with one backward pass per level, in which the heads receive
    the other levels detached."""
    model, data = model_and_inputs(config, neck)
    losses, norms = measure(model, data)
    assert set(norms) == {(3, 3), (3, 4), (3, 5), (4, 4), (4, 5), (5, 5)}
    total = model.parse_losses(losses)[0]

    maps = [x.detach() for x in model.backbone(data['inputs'])]
    for level in (3, 4, 5):
        leaves = [x.clone().requires_grad_() for x in maps]
        feats = [
            x if i == level else x.detach()
            for i, x in enumerate(model.neck(leaves), start=3)
        ]
        loss = model.bbox_head.loss(feats, SAMPLES)
        if hasattr(model, 'mask_head'):
            loss.update(model.mask_head.loss(Features(feats), SAMPLES))
        loss = model.parse_losses(loss)[0]
        torch.testing.assert_close(loss, total)
        loss.backward()
        for k in range(level, 6):
            expected = float(leaves[k - 2].grad.norm())
            assert norms[level, k] == pytest.approx(expected, rel=1e-4)
            assert expected > 0


def test_mask_rcnns_levels_start_at_p2():
    config = CONFIGS / 'mask_rcnn' / 'mask-rcnn_r18_fpn_shapes.py'
    model = build_model(config).train()
    data = dict(inputs=torch.randn(2, 3, 128, 128), data_samples=SAMPLES)
    _, norms = measure(model, data)
    assert set(norms) == {(i, k) for i in range(2, 6) for k in range(i, 6)}


def train(shapes, work_dir, hooks=()):
    """Train four iterations; return the runner and the random state."""
    config = Config.fromfile(SHAPES_CONFIG)
    config.model.backbone.base_channels = 8
    config.model.neck.in_channels = [8, 16, 32, 64]
    config.work_dir = str(work_dir)
    config.visualizer.name = config.experiment_name = work_dir.name
    config.train_dataloader.dataset.data_root = str(shapes)
    config.train_dataloader.update(
        batch_size=2, num_workers=0, persistent_workers=False
    )
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=4)
    for split in ('val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            config[f'{split}_{part}'] = None
    config.randomness = dict(seed=3)
    config.default_hooks.logger.interval = 1
    config.default_hooks.checkpoint = None
    config.custom_hooks = hooks
    runner = Runner.from_cfg(config)
    runner.train()
    return runner, torch.get_rng_state()


def test_in_a_runner_it_logs_draws_and_changes_no_bit(shapes, tmp_path):
    hook = dict(type='GradientFlowHook', interval=2)
    plain, state = train(shapes, tmp_path / 'plain')
    watched, watched_state = train(shapes, tmp_path / 'watched', [hook])
    assert torch.equal(state, watched_state)
    before = plain.model.state_dict()
    after = watched.model.state_dict()
    for key, value in before.items():
        assert torch.equal(value, after[key]), key
    for loss in ('loss_cls', 'loss_bbox', 'loss_mask'):
        assert (
            plain.message_hub.get_scalar(f'train/{loss}').data[0]
            == watched.message_hub.get_scalar(f'train/{loss}').data[0]
        ).all()

    assert {len(norms) for norms in logged_curves(watched).values()} == {2}
    assert not logged_curves(plain)
    (scalars,) = Path(watched.work_dir).glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert 'gradient/P3-C4' not in lines[0]
    assert lines[3]['gradient/P3-C4'] == logged_curves(watched)[3, 4][1]
    (log,) = Path(watched.work_dir).glob('*/*.log')
    assert 'gradient/P3-C4: ' in log.read_text()
    assert (tmp_path / 'watched' / 'gradient_flow.png').stat().st_size > 9999


class Compiled(BaseModel):
    """A detector with one backbone map and one level."""

    with_neck = True

    def __init__(self):
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.neck = OneLevel(nn.Conv2d(4, 4, 1))

    def forward(self, inputs, data_samples=None, mode='loss'):
        (level,) = self.neck((self.backbone(inputs),))
        return dict(loss=level.square().mean())


class OneLevel(nn.Sequential):
    def forward(self, maps):
        return (super().forward(maps[0]),)


def test_measures_a_compiled_step():
    """Hooks that come after the first step do not reach compiled code."""
    model, hook = Compiled(), GradientFlowHook(interval=2)
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    train_step = torch.compile(model.train_step, backend='eager')
    runner = SimpleNamespace(model=model, message_hub=MessageHub('compiled'))
    for runner.iter in range(4):
        hook.before_train_iter(runner, 0)
        train_step(dict(inputs=torch.randn(2, 3, 16, 16)), wrapper)
        hook.after_train_iter(runner, 0)
    assert len(logged_curves(runner)[1, 1]) == 2


def test_draws_detectors_of_different_levels(tmp_path):
    runs = {
        f'from P{first}': {
            (level, k): np.full(3, 0.1)
            for level in range(first, 6)
            for k in range(level, 6)
        }
        for first in (2, 3)
    }
    draw_gradient_flow(runs, 10, tmp_path / 'both.png')
    draw_gradient_flow(dict(one=runs['from P3']), 10, tmp_path / 'one.png')
    both, one = (
        cv2.imread(str(tmp_path / f'{n}.png')) for n in ('both', 'one')
    )
    assert both.shape[0] > one.shape[0] and both.shape[1] > one.shape[1]


def test_refuses_what_it_cannot_measure():
    with pytest.raises(ValueError, match='interval=0 must be at least 1'):
        GradientFlowHook(interval=0)
    with pytest.raises(ValueError, match='Linear has no neck'):
        measure(nn.Linear(1, 1), {})
    model, data = model_and_inputs(SHAPES_CONFIG, 'FPN')
    model.backbone.requires_grad_(False)
    with pytest.raises(ValueError, match='the backbone is frozen'):
        measure(model, data)
