"""A training step with what MMDetection offers besides the plain one."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.model import convert_sync_batchnorm
from mmengine.optim import OptimWrapper
from support.commands import run_here, small, weights
from support.helpers import (
    BOX_CONFIG,
    CONFIGS,
    SHAPES_CONFIG,
    build_model,
    sample,
)
from torch import nn

from projects.sprnet.gfpn import GATE_FUNCTIONS

SIZE = (64, 96)
OBJECTS = [sample([[8, 8, 40, 40], [30, 4, 90, 60]], [0, 1], SIZE)]
NOTHING = [sample([], [], SIZE)]
SMALL_HEAD = {
    'neck.out_channels': 64,
    'bbox_head.in_channels': 64,
    'bbox_head.feat_channels': 64,
    'mask_head.decoder.channels': 32,
}
HEADS = [
    CONFIGS / 'other_heads' / f'sprnet_{head}_r50_fpn_1x_coco.py'
    for head in ('atss', 'fcos', 'gfl')
]


def different_models():
    """A config of each combination of parts."""
    seen, configs = [], []
    for path in sorted(CONFIGS.rglob('sprnet_r18_*_shapes.py')):
        model = Config.fromfile(path).model
        parts = [
            model.mask_head[k].type for k in ('sampler', 'encoder', 'decoder')
        ]
        parts += [model.type, model.neck.type, model.neck.get('share_gate')]
        if parts not in seen:
            seen.append(parts)
            configs.append(path)
    return [*configs, *HEADS, *sorted(CONFIGS.glob('other_backbones/*.py'))]


every_model = pytest.mark.parametrize(
    'config', different_models(), ids=lambda path: path.stem
)

both_encoders = pytest.mark.parametrize(
    'config', [SHAPES_CONFIG, BOX_CONFIG], ids=['locations', 'boxes']
)


def small_model(config):
    """Build a config's model with few channels."""
    return build_model(config, **(SMALL_HEAD if 'coco' in config.stem else {}))


def losses_of(model, samples=OBJECTS):
    torch.manual_seed(1)
    images = torch.randn(len(samples), 3, *SIZE)
    return model.train()(images, samples, mode='loss')


def step(model, samples=OBJECTS):
    """The sum of losses and the gradients, by weight."""
    loss = model.parse_losses(losses_of(model, samples))[0]
    loss.backward()
    return loss, {k: p.grad for k, p in model.named_parameters()}


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    'config', [SHAPES_CONFIG, *HEADS], ids=lambda path: path.stem
)
def test_losses_are_computed_in_float32(config, dtype):
    model, seen = small_model(config), {}
    layer = model.bbox_head.cls_convs[0]
    layer.register_forward_hook(lambda *args: seen.update(layer=args[2]))
    for name, part in model.named_modules():
        if name.split('.')[-1].startswith('loss_'):
            part.register_forward_pre_hook(
                lambda _, inputs, name=name: seen.update({name: inputs[0]})
            )
    with torch.autocast('cpu', dtype):
        losses = losses_of(model)
    assert seen.pop('layer').dtype == dtype
    assert len(seen) == len(losses)
    for name, logits in seen.items():
        logits = logits[0] if isinstance(logits, tuple) else logits
        assert logits.dtype == torch.float32, name


@pytest.mark.parametrize('gate', GATE_FUNCTIONS)
def test_gates_in_float16(gate):
    model = build_model(**{'neck.gate': gate})
    loss, _ = step(model)
    with torch.autocast('cpu', torch.float16):
        half, gradients = step(model)
    assert half.item() == pytest.approx(loss.item(), rel=0.01)
    for name, gradient in gradients.items():
        assert gradient.isfinite().all(), name


@every_model
def test_every_weight_gets_a_gradient(config):
    """So distributed training needs no ``find_unused_parameters``."""
    model = small_model(config)
    for samples in (OBJECTS, NOTHING):
        model.zero_grad()
        _, gradients = step(model, samples)
        for name, parameter in model.named_parameters():
            gradient = gradients[name]
            assert (gradient is not None) == parameter.requires_grad, name
            assert gradient is None or gradient.isfinite().all(), name


@both_encoders
def test_checkpointed_backbones_have_the_same_gradients(config):
    loss, plain = step(build_model(config))
    again, saving = step(build_model(config, **{'backbone.with_cp': True}))
    assert torch.equal(loss, again)
    for name, gradient in plain.items():
        assert torch.equal(gradient, saving[name]), name


@both_encoders
def test_channels_last_gives_the_same_gradients(config):
    model = build_model(config)
    other = copy.deepcopy(model).to(memory_format=torch.channels_last)
    loss, plain = step(model)
    again, gradients = step(other)
    torch.testing.assert_close(again, loss)
    for name, gradient in plain.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(
            gradients[name], gradient, atol=1e-4 * scale, rtol=1e-3, msg=name
        )


def test_synchronised_batch_norms_replace_all():
    """On one rank they are plain ones; PyTorch synchronises on GPUs only."""
    model = build_model()
    synchronised = convert_sync_batchnorm(copy.deepcopy(model), 'torch')
    kinds = {type(part) for part in synchronised.modules()}
    assert nn.SyncBatchNorm in kinds and nn.BatchNorm2d not in kinds
    (loss, plain), (again, gradients) = step(model), step(synchronised)
    assert torch.equal(loss, again)
    for name, gradient in plain.items():
        assert torch.equal(gradient, gradients[name]), name


@both_encoders
def test_accumulated_gradients_make_one_step(config):
    model = build_model(config)
    single = [
        step(copy.deepcopy(model), samples)[1]
        for samples in (OBJECTS, NOTHING)
    ]
    before = copy.deepcopy(model.state_dict())
    wrapper = OptimWrapper(
        torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=2
    )
    for samples in (OBJECTS, NOTHING):
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, before[name]), name
        losses = model.parse_losses(losses_of(model, samples))[0]
        wrapper.update_params(losses)
    for name, parameter in model.named_parameters():
        mean = (single[0][name] + single[1][name]) / 2
        torch.testing.assert_close(parameter, before[name] - 0.1 * mean)


OPTIONS = f"""
_base_ = {str(SHAPES_CONFIG)!r}
custom_hooks = [dict(type='EMAHook')]
optim_wrapper = dict(accumulative_counts=2)
model = dict(backbone=dict(with_cp=True))
default_hooks = dict(channels_last=dict(type='ChannelsLastHook'))
"""


def test_all_options_in_a_run(shapes, tmp_path):
    config = tmp_path / 'options.py'
    config.write_text(OPTIONS)
    options = small(
        shapes,
        'train_cfg.max_epochs=1',
        'train_dataloader.num_workers=0',
        'train_dataloader.dataset.pipeline.2.scale=(96,96)',
    )
    run_here(tmp_path, 'train.py', config, '--work-dir', 'run', *options)
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    source = torch.load(checkpoint)['ema_state_dict']
    average = weights(checkpoint)
    assert source['steps'] == 3
    changed = set()
    for name, value in average.items():
        assert value.isfinite().all(), name
        if not torch.equal(source[f'module.{name}'], value):
            changed.add(name.split('.')[0])
    assert changed == {'backbone', 'neck', 'bbox_head', 'mask_head'}
