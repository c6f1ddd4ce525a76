"""Options of speed and memory on a GPU, and hooks that watch a training."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmdet.registry import HOOKS, OPTIM_WRAPPERS
from mmengine.runner import autocast
from support.agreement import (
    agreement,
    batch,
    distance,
    loss_and_gradients,
    pair_of,
    predict,
)
from support.commands import run_here, small
from support.helpers import BOX_CONFIG, CONFIGS, SHAPES_CONFIG

FROZEN_CONFIG = CONFIGS / 'frozen_detector' / 'sprnet_r18_fpn_frozen_shapes.py'
HEADS = [
    CONFIGS / 'other_heads' / f'sprnet_{head}_r50_fpn_1x_coco.py'
    for head in ('atss', 'fcos', 'gfl')
]
STEPS = 12  # of which the first may be skipped, until the scale is low enough

both_encoders = pytest.mark.parametrize('config', [SHAPES_CONFIG, BOX_CONFIG])


def options_of(config):
    return {'mask_head.sampler.std': 0.0} if config == BOX_CONFIG else {}


@pytest.mark.parametrize(
    'config', [SHAPES_CONFIG, BOX_CONFIG, FROZEN_CONFIG, *HEADS]
)
def test_training_in_float16_with_scaled_losses(config, gpu, record_property):
    _, model = pair_of(config, gpu, **options_of(config))
    plain, _ = loss_and_gradients(copy.deepcopy(model))
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type='AmpOptimWrapper',
            loss_scale='dynamic',
            optimizer=torch.optim.SGD(
                [p for p in model.parameters() if p.requires_grad], lr=1e-3
            ),
        )
    )
    seen = set()
    model.backbone.register_forward_hook(lambda *a: seen.add(a[2][0].dtype))
    weight = model.mask_head.decoder.classifier.weight
    before = weight.clone()
    model.train()
    for step in range(STEPS):
        torch.manual_seed(7)
        losses = model.train_step(batch(), wrapper)
        assert all(torch.isfinite(loss) for loss in losses.values())
        if step == 0:
            for name, loss in plain.items():
                assert losses[name].item() == pytest.approx(loss, rel=0.1)
        if not torch.equal(weight, before):
            break
    assert seen == {torch.float16}
    record_property('steps', step + 1)
    record_property('scale', wrapper.loss_scaler.get_scale())
    assert not torch.equal(weight, before)
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())


@pytest.mark.parametrize('config', [SHAPES_CONFIG, BOX_CONFIG, *HEADS])
def test_testing_in_float16_changes_little(config, gpu, record_property):
    _, model = pair_of(config, gpu)
    expected = predict(model)
    with autocast():
        rough = predict(model)
    # A score of float16 has ten bits.
    found = agreement(expected, rough, box=1, score=0.02)
    for name, value in found._asdict().items():
        record_property(name, value)
    assert found.matched > 0.6
    assert found.mask < 0.05


@both_encoders
def test_channels_last_changes_only_the_memory_format(
    config, device, record_property
):
    pair = pair_of(config, device, **options_of(config))
    plain, model = (copy.deepcopy(pair[1]) for _ in range(2))
    hook = HOOKS.build(dict(type='ChannelsLastHook'))
    hook.before_run(SimpleNamespace(model=model))
    found = agreement(predict(plain), predict(model))
    record_property('mask', found.mask)
    assert found.matched >= 0.95 and found.mask <= 1e-3
    gradients = [loss_and_gradients(one)[1] for one in (plain, model)]
    record_property('gradients', distance(*gradients))
    # Rounding puts some activations on the other side of a ReLU's kink.
    assert distance(*gradients) <= 5e-3


@both_encoders
def test_recomputed_activations_give_the_same_gradients(config, device):
    gradients = []
    for with_cp in (False, True):
        options = {**options_of(config), 'backbone.with_cp': with_cp}
        _, model = pair_of(config, device, **options)
        gradients.append(loss_and_gradients(model)[1])
    assert distance(*gradients) <= 1e-3


def train(folder, shapes, *options, config=SHAPES_CONFIG, arguments=()):
    """Train one epoch with train.py, on the GPU if there is one."""
    options = small(
        shapes,
        'train_cfg.max_epochs=1',
        'train_dataloader.num_workers=0',
        *options,
    )
    run_here(
        folder,
        'train.py',
        config,
        '--work-dir',
        folder,
        *arguments,
        *options,
    )


@pytest.mark.parametrize('arguments', [(), ('--amp',)])
def test_a_loss_of_nan_stops_a_training(arguments, shapes, device, tmp_path):
    with pytest.raises(SystemExit, match='iteration 1: loss_mask is nan'):
        train(
            tmp_path,
            shapes,
            'model.mask_head.loss_mask.loss_weight=nan',
            arguments=arguments,
        )
    assert not list(tmp_path.glob('*.pth*'))


@pytest.mark.parametrize('arguments', [(), ('--amp',)])
def test_gradients_of_a_training_are_logged(
    arguments, shapes, device, tmp_path
):
    config = tmp_path / 'watched.py'
    config.write_text(
        f"_base_ = '{SHAPES_CONFIG}'\n"
        "custom_hooks = [dict(type='GradientFlowHook', interval=1)]\n"
    )
    train(tmp_path, shapes, config=config, arguments=arguments)
    assert (tmp_path / 'gradient_flow.png').is_file()
    assert (tmp_path / 'epoch_1.pth').is_file()
