"""Rare values lead to no crash, and to no NaN or infinity."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.registry import METRICS
from mmengine.structures import InstanceData
from support.helpers import (
    BOX_CONFIG,
    INF,
    NAN,
    SHAPES_CONFIG,
    build_model,
    sample,
)
from torch import nn

from projects.sprnet.locations import (
    assign_locations,
    positive_locations,
)
from projects.sprnet.pasting import paste_one_by_one
from projects.sprnet.samplers import EveryObjectLocationSampler
from projects.sprnet.structures import Features

SIZE = (96, 128)
META = dict(pad_shape=SIZE)
HALF = [torch.bfloat16, torch.float16]
HEADS = {'MultiScaleFusion': SHAPES_CONFIG, 'BoxGrid': BOX_CONFIG}
OBJECTS = [sample([[24, 24, 56, 56], [48, 40, 112, 90]], [0, 0], SIZE)]
CROWD_ONLY = [sample([], [], SIZE, crowds=[[10, 10, 80, 80]])]
NOTHING = [sample([], [], SIZE)]


def train(model, samples, size=SIZE, dtype=torch.float32):
    """Return a step's losses; they and all gradients must be finite."""
    torch.manual_seed(1)
    images = torch.randn(len(samples), 3, *size)
    with torch.autocast('cpu', dtype, enabled=dtype is not torch.float32):
        losses = model.train()(images, samples, mode='loss')
    total, values = model.parse_losses(losses)
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
    assert all(value.isfinite() for value in values.values()), values
    return values


def detect(model, size=SIZE):
    """Return an image's detections; those exported must be finite."""
    torch.manual_seed(1)
    with torch.no_grad():
        (result,) = model.eval().predict(
            torch.randn(1, 3, *size), [sample([], [], size)]
        )
    detections = result.pred_instances
    assert detections.masks.shape == (len(detections), *size)
    metric = METRICS.build(dict(type='CocoAPARMetric', metric='segm'))
    metric.process({}, [dict(result.to_dict(), instances=[])])
    ((_, exported),) = metric.results
    for field in ('bboxes', 'scores'):
        values = torch.tensor(exported.get(field, []))
        assert values.isfinite().all(), field
    assert len(exported['masks']) == len(detections)
    file = DetInferencer.pred2dict(SimpleNamespace(), result)
    json.dumps(file, allow_nan=False)
    return detections


@pytest.fixture(scope='module')
def models():
    """Models with each kind of encoder that detect at every score."""
    built = {
        kind: build_model(config, **{'test_cfg.score_thr': 0.0})
        for kind, config in HEADS.items()
    }
    for model in built.values():
        nn.init.normal_(model.mask_head.decoder.classifier.weight, std=0.5)
    return built


@pytest.fixture(params=HEADS)
def model(request, models):
    return copy.deepcopy(models[request.param])


@pytest.mark.parametrize(
    'samples',
    [NOTHING, 2 * NOTHING, CROWD_ONLY],
    ids=['an image', 'images', 'crowd'],
)
def test_training_on_background_alone(model, samples):
    losses = train(model, samples)
    assert losses['loss_mask'] == losses['loss_bbox'] == 0
    assert losses['loss_cls'] > 0


def test_maps_of_a_single_location(model):
    size = (8, 8)
    feats = model.neck(model.backbone(torch.zeros(2, 3, *size)))
    assert {feat.shape[2:] for feat in feats} == {(1, 1)}
    objects = [sample([[-14, -14, 18, 18]], [3], size)]
    assert train(model, 2 * objects, size)['loss_mask'] > 0
    assert len(detect(model, size)) > 0


def test_an_image_of_5000_objects(models):
    index = torch.arange(5000)
    corners = torch.stack([index % 100, index // 100], 1)
    boxes = torch.cat([corners, corners + 32], 1)
    samples = [sample(boxes.tolist(), [0] * len(boxes), SIZE)]
    losses = train(copy.deepcopy(models['MultiScaleFusion']), samples)
    assert losses['loss_mask'] > 0


@pytest.mark.parametrize('classes', [1, 1203])
def test_heads_of_few_and_many_classes(classes):
    model = build_model(
        **{'bbox_head.num_classes': classes, 'test_cfg.score_thr': 0.0}
    )
    last = [sample([[24, 24, 56, 56]], [classes - 1], SIZE)]
    assert train(model, last)['loss_mask'] > 0
    gradient = model.mask_head.decoder.classifier.weight.grad
    assert gradient.flatten(1).any(1).nonzero().tolist() == [[classes - 1]]
    detections = detect(model)
    assert len(detections) == 100
    assert detections.labels.max() < classes


@pytest.mark.parametrize('dtype', HALF)
def test_half_precision(model, dtype):
    plain = train(model, OBJECTS)
    model.zero_grad()
    mixed = train(model, OBJECTS, dtype=dtype)
    assert mixed['loss_mask'].item() == pytest.approx(
        plain['loss_mask'].item(), rel=0.02
    )
    with torch.autocast('cpu', dtype):
        assert detect(model).masks.any()


@pytest.mark.parametrize('dtype', HALF)
def test_the_mask_loss_sums_more_cells_than_half_precision_counts(
    models, dtype
):
    torch.manual_seed(0)
    corners = 90 * torch.rand(300, 2)
    boxes = torch.cat([corners, corners + 34], dim=1).tolist()
    objects = [sample(boxes, [0] * 300, SIZE)]
    head = copy.deepcopy(models['MultiScaleFusion'].mask_head)
    sizes = [(12, 16), (6, 8), (3, 4), (2, 2), (1, 1)]
    levels = [torch.randn(1, 64, *size) for size in sizes]
    losses = []
    for kind in (torch.float32, dtype):
        features = Features(tuple(level.to(kind) for level in levels))
        gt = objects[0].gt_instances
        (anchors,) = head.to(kind).anchors(features, [META])
        cells = head.training_instances(0, gt, META, anchors).target
        assert cells.numel() > torch.finfo(torch.float16).max
        losses.append(head.loss(features, objects)['loss_mask'])
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.02)


@pytest.mark.parametrize('dtype', HALF)
def test_pure_functions_in_half_precision(dtype):
    """Areas exceed the largest number of half precision."""
    torch.manual_seed(0)
    corners = 300 * torch.rand(20, 2)
    anchors = torch.cat([corners, corners + 200 + corners.flip(0)], dim=1)
    anchors = anchors.to(dtype)
    objects = anchors[::4] + 8
    of_locations = anchors.view(10, 2, 4)
    for function in (
        assign_locations,
        lambda a, b: positive_locations(assign_locations(a, b), 0.5),
    ):
        half = function(of_locations, objects)
        single = function(of_locations.float(), objects.float())
        for field, expected in zip(half, single):
            assert len(field) and torch.equal(field, expected)
    grids = torch.ones(5, 32, 32, dtype=dtype)
    masks = paste_one_by_one(grids, objects, (600, 800), 0.5)
    expected = paste_one_by_one(
        grids.float(), objects.float(), (600, 800), 0.5
    )
    assert torch.equal(masks, expected) and masks.any()


def decoded(model):
    """(L, 9, 4): decode all anchors of the image that detect() takes."""
    head = model.bbox_head
    with torch.no_grad():
        torch.manual_seed(1)
        features = model.extract_feat(torch.randn(1, 3, *SIZE))
        deltas = head(features.levels)[1]
    sizes = [d.shape[2:] for d in deltas]
    priors = head.prior_generator.grid_priors(sizes, device='cpu')
    deltas = [d[0].permute(1, 2, 0).reshape(-1, 4) for d in deltas]
    boxes = head.bbox_coder.decode(
        torch.cat(priors), torch.cat(deltas), max_shape=SIZE
    )
    return boxes.view(-1, 9, 4)


def test_scores_exactly_equal(model):
    nn.init.zeros_(model.bbox_head.retina_cls.weight)
    nn.init.normal_(model.bbox_head.retina_reg.weight, std=0.02)
    detections = detect(model)
    assert len(detections) == 100 and len(detections.scores.unique()) == 1
    if not model.mask_head.encoder.reads_locations:
        return
    candidates = decoded(model)[detections.locations]
    distances = (candidates - detections.bboxes[:, None]).abs().amax(dim=2)
    assert distances.amin(dim=1).max() < 1e-3


def set_deltas(model, spoil):
    """Apply ``spoil`` to the predicted deltas (N, 9, 4, H, W)."""

    def hook(layer, inputs, output):
        output = output.clone()
        spoil(output.unflatten(1, (9, 4)))
        return output

    model.bbox_head.retina_reg.register_forward_hook(hook)


@pytest.mark.parametrize('least_side', [0, -1])
def test_boxes_that_are_empty_after_clipping(model, least_side):
    model.bbox_head.test_cfg.min_bbox_size = least_side
    set_deltas(model, lambda deltas: deltas[:, :, 0].fill_(1e4))
    detections = detect(model)
    assert len(detections) == (0 if least_side == 0 else 100)
    assert not detections.masks.any()


@pytest.mark.parametrize('value', [NAN, INF, -INF])
@pytest.mark.parametrize('field', range(4))
def test_deltas_of_nan_and_infinity(model, value, field):
    """Stock settings drop boxes of NaN and keep the others."""
    set_deltas(model, lambda deltas: deltas[:, ::2, field].fill_(value))
    assert len(detect(model)) == 100


BAD_BOXES = torch.tensor(
    [
        [NAN] * 4,
        [10, NAN, 60, 60],
        [-INF, -INF, INF, INF],
        [10, 10, INF, 60],
        [50, 50, 50, 80],
        [-90, -90, -20, -20],
        [3e38, 3e38, 3.2e38, 3.3e38],
        [60, 60, 20, 20],
    ]
)


def test_bad_boxes_spoil_no_others(model):
    head, good = model.mask_head, torch.tensor([[10.0, 12, 60, 58]])
    image, both = sample([], [], SIZE), torch.cat([BAD_BOXES, good])
    with torch.no_grad():
        features = model.eval().extract_feat(torch.zeros(1, 3, *SIZE))
        alone, among = (
            head.predict(
                features,
                [image],
                [
                    InstanceData(
                        bboxes=boxes,
                        labels=torch.full((len(boxes),), 2),
                        scores=torch.full((len(boxes),), 0.5),
                        locations=torch.full((len(boxes),), 77),
                    )
                ],
            )[0]
            for boxes in (good, both)
        )
    assert among.masks[-1].any()
    assert (among.masks[-1] != alone.masks[0]).sum() <= 1
    assert not among.masks[[0, 4, 5, 6, 7]].any()


def test_bad_objects_have_no_locations_and_take_none():
    centres = torch.arange(4, 128, 8).float()
    centres = torch.cartesian_prod(centres, centres)
    anchors = torch.cat([centres - 16, centres + 16], dim=1)[:, None]
    good = torch.tensor([[24.0, 24, 56, 56], [90, 90, 96, 97]])
    sampler = EveryObjectLocationSampler(threshold=0.5)
    alone = sampler(good, anchors)
    assert set(alone.objects.tolist()) == {0, 1}
    among = sampler(torch.cat([BAD_BOXES, good]), anchors)
    assert torch.equal(among.locations, alone.locations)
    assert torch.equal(among.objects, alone.objects + len(BAD_BOXES))


@pytest.mark.parametrize('layer', ['classifier', 'retina_cls', 'conv1'])
def test_weights_of_nan(model, layer):
    """After a failed training there are no masks, or no detections."""
    for name, module in model.named_modules():
        if name.endswith(f'.{layer}'):
            nn.init.constant_(module.weight, NAN)
    detections = detect(model)
    assert not detections.masks.any()
    assert len(detections) == (100 if layer == 'classifier' else 0)
