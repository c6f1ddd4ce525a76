"""The encoder that reads boxes, and its training, against slow loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.ops import roi_align
from mmengine.structures import InstanceData
from support.helpers import (
    BOX_CONFIG,
    INF,
    NAN,
    OBJECTS,
    build_model,
    pyramid,
    sample,
)

from projects.sprnet import BoxGrid, JitteredBoxSampler
from projects.sprnet.boxes import (
    enlarged,
    grid_points,
    jittered,
    levels_by_size,
)
from projects.sprnet.pasting import paste_masks
from projects.sprnet.pixels import best_pixels

STRIDES = (8, 16, 32, 64, 128)
SIZES = [(15, 17), (8, 9), (4, 5), (2, 3), (1, 2)]  # of 120 x 136 pixels
# One on each level for finest_scale=8; then across borders, outside, empty
BOXES = torch.tensor(
    [
        [40, 30, 52, 44],
        [20.5, 60.25, 45, 83],
        [70, 10, 120, 60],
        [30, 20, 128, 110],
        [-20, -30, 150, 160],
        [-9, -12, 30, 25],
        [110, 100, 150, 140],
        [200, 200, 260, 240],
        [10, 10, 10, 50],
        [64, 64, 64, 64],
        [3, 50, 130, 53],
    ],
    dtype=torch.float32,
)


def level_of(box, finest_scale):
    x1, y1, x2, y2 = box
    side = math.sqrt(max(x2 - x1, 0) * max(y2 - y1, 0))
    level = 0
    while side >= finest_scale * 2 ** (level + 1) and level < 4:
        level += 1
    return level


def sampled(image, x, y):
    """Sample a map (C, H, W) at one point; (0, 0) is its first pixel."""
    height, width = image.shape[1:]
    if not (-1 <= x <= width and -1 <= y <= height):
        return np.zeros(len(image))
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    total = np.zeros(len(image))
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(row - y)) * (1 - abs(column - x))
            if weight > 0:
                total += weight * image[:, row, column]
    return total


def read_by_loops(encoder, feats, batch_indices, boxes):
    """Compute BoxGrid.read one sample at a time."""
    maps = [feat.detach().double().numpy() for feat in feats]
    side, samples = encoder.grid_size, encoder.samples
    grids = []
    for n, box in zip(batch_indices.tolist(), boxes.tolist()):
        level = level_of(box, encoder.finest_scale)
        x1, y1, x2, y2 = (edge / STRIDES[level] for edge in box)
        cells = []
        for row in range(side):
            for column in range(side):
                cell = 0
                for i in range(samples):
                    for j in range(samples):
                        v = (row + (i + 0.5) / samples) / side
                        u = (column + (j + 0.5) / samples) / side
                        cell = cell + sampled(
                            maps[level][n],
                            x1 + u * (x2 - x1) - 0.5,
                            y1 + v * (y2 - y1) - 0.5,
                        )
                cells.append(cell / samples**2)
        grids.append(cells)
    grids = torch.tensor(np.array(grids)).transpose(1, 2)
    return grids.unflatten(2, (side, side))


def box_grid(**options):
    torch.manual_seed(0)
    options = dict(in_channels=6, out_channels=10, finest_scale=8, **options)
    return BoxGrid(**options)


@pytest.mark.parametrize('grid_size,samples', [(7, 1), (3, 2), (1, 1)])
def test_reads_what_loops_read(grid_size, samples):
    encoder = box_grid(grid_size=grid_size, samples=samples)
    feats = pyramid(SIZES)
    indices = torch.arange(len(BOXES)) % 2
    grids = encoder.read(feats, indices, BOXES)
    expected = read_by_loops(encoder, feats, indices, BOXES)
    assert {level_of(b, 8) for b in BOXES.tolist()} == {0, 1, 2, 3, 4}
    torch.testing.assert_close(grids.double(), expected, atol=1e-5, rtol=0)
    assert not grids[7].any()  # the box far outside


@pytest.mark.parametrize(
    'spoil',
    [
        lambda e: setattr(e, 'finest_scale', 16),
        lambda e: setattr(e, 'strides', [(s + 1, s + 1) for s in STRIDES]),
        lambda e: setattr(
            e, 'points', lambda boxes: grid_points(enlarged(boxes, 1.1), 7)
        ),
        lambda e: setattr(
            e, 'points', lambda boxes: grid_points(boxes, 7).flip(2)
        ),
    ],
    ids=['level', 'stride', 'frame', 'transposed'],
)
def test_the_loops_notice_an_error(spoil):
    encoder, feats = box_grid(), pyramid(SIZES)
    indices = torch.arange(len(BOXES)) % 2
    expected = read_by_loops(encoder, feats, indices, BOXES)
    spoil(encoder)
    grids = encoder.read(feats, indices, BOXES)
    assert (grids.double() - expected).abs().max() > 0.1


@pytest.mark.parametrize('samples', [1, 2])
def test_values_and_gradients_are_roi_aligns(samples):
    encoder, feats = box_grid(samples=samples), pyramid(SIZES)
    torch.manual_seed(1)
    corners = torch.rand(300, 2) * 140 - 20
    boxes = torch.cat([corners, corners + torch.rand(300, 2) ** 3 * 160], 1)
    indices = torch.randint(0, 2, (300,))
    levels = torch.tensor([level_of(b, 8) for b in boxes.tolist()])
    assert torch.equal(levels, levels_by_size(boxes, 8, 5))
    grids = encoder.read(feats, indices, boxes)
    weight = torch.randn_like(grids)
    grads = torch.autograd.grad((grids * weight).sum(), feats)
    for level, (feat, grad) in enumerate(zip(feats, grads)):
        (of_level,) = (levels == level).nonzero(as_tuple=True)
        assert len(of_level) > 2
        rois = torch.cat([indices[of_level, None].float(), boxes[of_level]], 1)
        expected = roi_align(
            feat, rois, (7, 7), 1 / STRIDES[level], samples, 'avg', True
        )
        torch.testing.assert_close(
            grids[of_level], expected, atol=1e-4, rtol=0
        )
        reference = torch.autograd.grad(
            (expected * weight[of_level]).sum(), feat
        )[0]
        torch.testing.assert_close(grad, reference, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize('num_convs', [0, 2])
def test_a_vector_is_made_of_its_own_grid_alone(num_convs):
    options = dict(grid_size=3, num_convs=num_convs, conv_channels=8)
    encoder, feats = box_grid(**options), pyramid(SIZES)
    indices = torch.zeros(len(BOXES), dtype=torch.long)
    codes, owners = encoder.distinct(feats, indices, None, BOXES)
    assert codes.shape == (len(BOXES), encoder.out_channels)
    assert owners is None
    for box, code in zip(BOXES, codes):
        x = encoder.read(feats, indices[:1], box[None])
        for layer in encoder.convs:
            x = F.conv2d(x, layer.conv.weight, padding=1)
            x = F.group_norm(x, 8, layer.gn.weight, layer.gn.bias).relu()
        expected = encoder.linear.bias + encoder.linear.weight @ x.flatten()
        torch.testing.assert_close(code, expected.clamp(min=0))


def test_the_fine_map_is_read_at_the_same_places_and_added():
    encoder = box_grid(fine_channels=5, num_convs=0)
    feats, fine = pyramid(SIZES), torch.randn(2, 5, 30, 34)
    indices = torch.arange(len(BOXES)) % 2
    outputs = []
    encoder.convs.register_forward_hook(lambda *args: outputs.append(args[2]))
    encoder([*feats, fine], indices, indices, BOXES)
    rois = torch.cat([indices[:, None].float(), BOXES], dim=1)
    sampled = roi_align(fine, rois, (7, 7), 1 / 4, 1, 'avg', True)
    expected = encoder.read(feats, indices, BOXES)
    expected = expected + encoder.lateral(sampled)
    torch.testing.assert_close(outputs[0], expected, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match='fine_channels=5 must be 6'):
        encoder([*feats, torch.randn(2, 6, 30, 34)], indices, indices, BOXES)


def test_a_model_gives_its_mask_head_the_backbones_first_map():
    model = build_model(BOX_CONFIG).eval()
    maps = []
    model.backbone.register_forward_hook(lambda *args: maps.extend(args[2]))
    with torch.no_grad():
        feats = model.extract_feat(torch.randn(1, 3, 64, 96))
    assert feats[-1] is maps[0] and feats[-1].shape == (1, 32, 16, 24)
    assert len(model.levels(feats)) == len(feats) - 1 == 5


def test_boxes_of_nan_read_nothing_and_harm_no_others():
    encoder, feats = box_grid(), pyramid(SIZES)
    bad = torch.tensor([[NAN] * 4, [10, NAN, 60, 60], [-INF, -INF, INF, INF]])
    both = torch.cat([bad, BOXES])
    grids = encoder.read(feats, torch.zeros(len(both), dtype=torch.long), both)
    assert not grids[:3].any()
    alone = encoder.read(feats, torch.zeros(len(BOXES)).long(), BOXES)
    assert torch.equal(grids[3:], alone)
    grids.sum().backward()
    assert all(feat.grad.isfinite().all() for feat in feats)


def test_thousands_of_boxes_and_none():
    encoder, feats = box_grid(), pyramid(SIZES)
    many = BOXES.repeat(500, 1)
    indices = torch.zeros(len(many), dtype=torch.long)
    with torch.no_grad():
        codes = encoder(feats, indices, indices, many)
        few = encoder(feats, indices[:11], indices[:11], BOXES)
        none = encoder(feats, indices[:0], indices[:0], BOXES[:0])
    torch.testing.assert_close(codes, few.repeat(500, 1))
    assert none.shape == (0, encoder.out_channels)


# The sampler and the targets


def test_frames_and_jitter():
    boxes = BOXES[:5]
    assert torch.equal(enlarged(boxes, 1), boxes)
    wide = enlarged(torch.tensor([[10.0, 20, 30, 60]]), 1.2)
    torch.testing.assert_close(wide, torch.tensor([[8.0, 16, 32, 64]]))
    torch.manual_seed(0)
    many = boxes.repeat(2000, 1)
    shifts = (jittered(many, 0.08) - many) / (
        many[:, 2:] - many[:, :2]
    ).repeat(1, 2)
    assert shifts.abs().max() <= 0.1601
    assert shifts.mean(0).abs().max() < 0.005
    assert (shifts.std(0) - 0.077).abs().max() < 0.004  # cut at 2 deviations
    assert torch.equal(jittered(many, 0), many)


def test_every_object_trains_in_boxes_near_its_own():
    anchors = torch.tensor([[[0.0, 0, 32, 32]], [[40, 40, 72, 72]]])
    boxes = torch.tensor(
        [[40.0, 44, 70, 75], [2, 2, 8, 8], [9, 9, 9, 20], [NAN, 1, 2, 3]]
    )
    torch.manual_seed(0)
    sampler = JitteredBoxSampler(copies=3)
    pixels, instances, frames = sampler(anchors, boxes)
    assert instances.tolist() == [0, 1] * 3
    assert pixels is None
    assert len(frames.unique(dim=0)) == 6
    shifts = frames - boxes[instances]
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)[instances]
    assert (shifts.abs() <= 0.1601 * sides).all() and shifts.all()


def test_no_more_than_max_boxes_chosen_at_random():
    anchors = torch.tensor([[[0.0, 0, 32, 32]]])
    boxes = torch.rand(50, 2)
    boxes = torch.cat([boxes, boxes + 20], dim=1)
    torch.manual_seed(0)
    sampler = JitteredBoxSampler(copies=2, max_boxes=30)
    chosen = [sampler(anchors, boxes).instances for _ in range(2)]
    assert all(len(c) == 30 for c in chosen)
    assert set(chosen[0].tolist()) != set(chosen[1].tolist())
    none = sampler(anchors, boxes[:0])
    assert len(none.instances) == len(none.boxes) == 0


@pytest.fixture
def head():
    model = build_model(BOX_CONFIG).eval()
    torch.nn.init.normal_(model.mask_head.decoder.classifier.weight, std=0.5)
    return model.mask_head


FEATS = [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]


def maps(batch):
    """The pyramid and the fine map of images of 128 x 128 pixels."""
    feats = [torch.randn(batch, 64, *size) for size in FEATS]
    return [*feats, torch.randn(batch, 32, 32, 32)]


META = dict(pad_shape=(128, 128))


@pytest.mark.parametrize('frame', [1.0, 1.2])
def test_targets_are_the_masks_in_the_frames_that_are_read(head, frame):
    head.frame = frame
    gt = sample(OBJECTS, [0, 3, 5]).gt_instances
    torch.manual_seed(0)
    feats = [torch.zeros(1, 64, *size) for size in FEATS]
    chosen = head.positives(gt, META, feats)
    assert len(chosen) == 3 * head.sampler.copies
    plain = enlarged(chosen.boxes, 1 / frame)
    for box, label, target in zip(plain, chosen.labels, chosen.targets):
        (n,) = (gt.labels == label).nonzero()[0]
        assert (box - gt.bboxes[n]).abs().max() < 0.17 * 64
        truth = gt.masks.masks[n].astype(bool)
        filled = enlarged(box[None], frame)
        inside = paste_masks(torch.ones(1, 32, 32), filled, 128, 128, 0.5)
        truth &= inside[0].numpy()

        def fit(cells, truth=truth, filled=filled):
            pasted = paste_masks(cells[None], filled, 128, 128, 0.5).numpy()
            return (pasted & truth).sum() / (pasted | truth).sum()

        assert fit(target) > 0.93
        for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            assert fit(target.roll(shift, dims=axis)) < fit(target)


def test_masks_are_read_at_the_boxes_and_put_into_the_frames(head):
    """Also if detections have another size than the network's input."""
    head.frame = 1.2
    torch.manual_seed(0)
    feats = maps(2)
    image = sample([], [])
    image.set_metainfo(dict(ori_shape=(256, 64), scale_factor=(2.0, 0.5)))
    boxes = torch.tensor([[10.0, 40, 40, 160], [2, 8, 60, 90]])
    second = InstanceData(
        bboxes=boxes, labels=torch.tensor([1, 4]), pixels=torch.tensor([7, 9])
    )
    results = [second[:1], second]
    with torch.no_grad():
        predicted = head.predict(feats, [image, image], results, rescale=True)
        frames = enlarged(boxes * torch.tensor([2, 0.5, 2, 0.5]), 1.2)
        logits = head(
            feats, torch.tensor([0, 1, 1]), second.pixels[[0, 0, 1]],
            frames[[0, 0, 1]], second.labels[[0, 0, 1]],
        )  # fmt: skip
    expected = paste_masks(
        logits.sigmoid(), enlarged(boxes, 1.2)[[0, 0, 1]], 256, 64, 0.5
    )
    masks = torch.cat([p.masks for p in predicted])
    assert masks.shape == (3, 256, 64)
    assert (masks != expected).float().mean() < 1e-4
    assert torch.equal(predicted[1].bboxes, boxes)
    outside = masks.clone()
    for mask, (x1, y1, x2, y2) in zip(outside, boxes[[0, 0, 1]].int()):
        mask[y1:y2, x1:x2] = False
    assert outside.any()  # a mask may pass its box, within its frame


def test_an_encoder_of_pixels_reads_the_best_pixels_of_the_boxes():
    sampler = dict(_delete_=True, type='JitteredBoxSampler')
    options = {'mask_head.sampler': sampler}
    head = build_model(**options).mask_head
    gt = sample(OBJECTS, [0, 3, 5]).gt_instances
    feats = [torch.zeros(1, 64, *size) for size in FEATS]
    chosen = head.positives(gt, META, feats)
    best, _ = best_pixels(head.anchors(feats, META), chosen.boxes)
    assert chosen.pixels.tolist() == best.tolist()


def test_objects_without_a_mask_train_none(head):
    """They are ground truth, because their boxes train."""
    image = sample(OBJECTS, [0, 3, 5])
    image.gt_instances.masks.masks[1] = 0
    feats = maps(1)
    chosen = head.positives(image.gt_instances, META, feats)
    assert set(chosen.labels.tolist()) == {0, 5}
    image.gt_instances.masks.masks[:] = 0
    loss = head.loss(feats, [image])['loss_mask']
    assert loss == 0
    loss.backward()
    assert all(p.grad is not None for p in head.parameters())
