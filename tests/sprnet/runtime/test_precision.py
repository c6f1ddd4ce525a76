"""Options that make a run faster: half precision, channels-last, compiling."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmcv.ops import DeformConv2dPack, RoIAlign
from mmdet.registry import HOOKS, OPTIM_WRAPPERS
from mmdet.structures.bbox import bbox_overlaps
from support.amp import amp_on_cpu
from support.helpers import (
    BOX_CONFIG,
    SHAPES_CONFIG,
    build_model,
    lively,
    sample,
)
from torch import nn

HALF = [torch.bfloat16, torch.float16]


@pytest.fixture(params=[SHAPES_CONFIG, BOX_CONFIG], ids=['locations', 'boxes'])
def config(request):
    return request.param


def batch(size=128):
    torch.manual_seed(0)
    return dict(
        inputs=[torch.randint(256, (3, size, size), dtype=torch.uint8)],
        data_samples=[sample([(10, 20, 70, 90), (40, 8, 120, 60)], [0, 3])],
    )


def untrained(config):
    return build_model(config, **{'test_cfg.score_thr': 0.0})


def masks_and_boxes(model):
    instances = model.eval().test_step(batch())[0].pred_instances
    return instances.masks, instances.bboxes


@pytest.mark.parametrize(
    'wrapper, dtype',
    [
        ('BFloat16OptimWrapper', torch.bfloat16),
        ('AmpOptimWrapper', torch.float16),
    ],
)
def test_training_in_half_precision(wrapper, dtype, config, monkeypatch):
    amp_on_cpu(monkeypatch)
    model = build_model(config)
    wrapper = OPTIM_WRAPPERS.build(
        dict(
            type=wrapper,
            optimizer=torch.optim.SGD(model.parameters(), lr=1e-3),
        )
    )
    seen = []
    for conv in model.modules():
        if isinstance(conv, nn.Conv2d):
            conv.register_forward_hook(lambda *a: seen.append(a[2].dtype))
    torch.manual_seed(1)  # for the jitter of the boxes
    plain = model.parse_losses(
        model(**model.data_preprocessor(batch(), True), mode='loss')
    )[1]
    assert set(seen) == {torch.float32}
    seen.clear()
    before = copy.deepcopy(model.state_dict())
    torch.manual_seed(1)
    mixed = model.train_step(batch(), wrapper)
    assert set(seen) == {dtype}
    for name, loss in plain.items():
        assert mixed[name].item() == pytest.approx(loss.item(), rel=0.05)
    changed = [
        name
        for name, value in model.state_dict().items()
        if not torch.equal(value, before[name])
    ]
    assert any(name.startswith('mask_head.decoder') for name in changed)
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize('dtype', HALF)
def test_testing_in_half_precision_changes_little(config, dtype):
    model = untrained(config)
    masks, boxes = masks_and_boxes(model)
    with torch.autocast('cpu', dtype):
        rough, moved = masks_and_boxes(model)
    assert len(masks) == len(rough) == 100
    assert rough.dtype == torch.bool
    overlaps = bbox_overlaps(moved.float(), boxes).amax(dim=1)
    assert overlaps.median() > 0.8


@pytest.mark.parametrize('dtype', HALF)
def test_detections_keep_their_masks_in_half_precision(config, dtype):
    model = lively(untrained(config))
    samples = [sample([], [])]
    torch.manual_seed(0)
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        detections = [model.predict(images, samples)[0].pred_instances]

        def probabilities():
            features = model.extract_feat(images)
            return model.mask_head.probabilities(features, samples, detections)

        plain = probabilities()
        with torch.autocast('cpu', dtype):
            half = probabilities()
    assert 0.1 < (plain > 0.5).float().mean() < 0.9
    assert ((plain > 0.5) != (half > 0.5)).float().mean() < 0.03


def test_channels_last_changes_only_the_memory_format(config):
    model = untrained(config)
    weights = copy.deepcopy(model.state_dict())
    masks, boxes = masks_and_boxes(model)
    hook = HOOKS.build(dict(type='ChannelsLastHook'))
    hook.before_run(SimpleNamespace(model=model))
    order = dict(memory_format=torch.channels_last)
    assert model.backbone.layer1[0].conv1.weight.is_contiguous(**order)
    seen = []
    model.neck.register_forward_hook(lambda *a: seen.extend(a[2]))
    again, moved = masks_and_boxes(model)
    assert all(feat.is_contiguous(**order) for feat in seen)
    torch.testing.assert_close(moved, boxes, atol=1e-3, rtol=1e-4)
    assert (again != masks).float().mean() < 1e-3
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])


@pytest.mark.parametrize(
    'module', [RoIAlign(7, 1.0, 2), DeformConv2dPack(8, 8, 3, padding=1)]
)
def test_channels_last_leaves_mmcvs_operators_alone(module):
    """They read any memory as if it were contiguous."""
    conv = nn.Conv2d(3, 8, 3)
    images = torch.randn(2, 3, 18, 18)
    more = []
    if isinstance(module, RoIAlign):
        more = [torch.tensor([[0, 1.0, 1, 9, 9], [1, 2, 2, 12, 12]])]
    else:
        nn.init.normal_(module.conv_offset.weight)
    expected = module(conv(images), *more)
    model = nn.ModuleList([conv, module])
    hook = HOOKS.build(dict(type='ChannelsLastHook'))
    hook.before_run(SimpleNamespace(model=model))
    features = conv(images)
    assert not features.is_contiguous()
    torch.testing.assert_close(module(features, *more), expected)


def test_the_mask_head_compiles(config):
    model = untrained(config)
    masks, boxes = masks_and_boxes(model)
    # Generating code, and compiling the backbone too, would take minutes.
    head = model.mask_head
    head.forward = torch.compile(head.forward, backend='eager')
    again, same = masks_and_boxes(model)
    assert torch.equal(again, masks) and torch.equal(same, boxes)


def test_the_mask_loss_compiles():
    model = build_model(SHAPES_CONFIG)
    data = model.data_preprocessor(batch(), True)
    feats = model.extract_feat(data['inputs'])
    head, losses = model.mask_head, []
    compiled = torch.compile(head.loss, backend='eager')
    for loss in (head.loss, compiled):
        losses.append(loss(feats, data['data_samples'])['loss_mask'])
    assert torch.equal(*losses) and losses[0] > 0
