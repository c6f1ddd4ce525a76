"""The encoder that reads boxes, and its training, against slow loops."""

import math

import numpy as np
import pytest
import torch
from mmcv.ops import roi_align
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
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
from support.references import grid_embedding, level_of

from projects.sprnet import BoxGrid
from projects.sprnet.boxes import enlarged
from projects.sprnet.pasting import paste_one_by_one
from projects.sprnet.structures import Features, Instances

STRIDES = (8, 16, 32, 64, 128)
SIZE = (960, 1088)
SIZES = [(SIZE[0] // s, SIZE[1] // s) for s in (8, 16, 32, 64)] + [(8, 9)]
# One on each level; then across borders, outside, empty
BOXES = 8 * torch.tensor(
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
PICTURES = torch.arange(len(BOXES)) % 2


def sampled(image, x, y):
    """Sample a map (C, H, W) at one point; (0, 0) is its first pixel's centre.
    Beyond the outermost centres its values continue."""
    height, width = image.shape[1:]
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    total = np.zeros(len(image))
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(row - y)) * (1 - abs(column - x))
            if weight > 0:
                total += weight * image[:, row, column]
    return total


def read_by_loops(feat, stride, box):
    """Sample a map (C, H, W) at the centres of a box's 7 x 7 cells."""
    image = feat.detach().double().numpy()
    x1, y1, x2, y2 = (edge / stride for edge in box.tolist())
    cells = [
        sampled(
            image,
            x1 + (column + 0.5) / 7 * (x2 - x1) - 0.5,
            y1 + (row + 0.5) / 7 * (y2 - y1) - 0.5,
        )
        for row in range(7)
        for column in range(7)
    ]
    return torch.tensor(np.array(cells)).T.unflatten(1, (7, 7))


def roi_features_by_loops(levels, pictures, boxes):
    """Compute BoxGrid.roi_features one sample at a time."""
    features = []
    for picture, box in zip(pictures.tolist(), boxes):
        level = level_of(box.tolist())
        feat = levels[level][picture]
        features.append(read_by_loops(feat, STRIDES[level], box))
    return torch.stack(features)


def encoder_of_boxes(**options):
    torch.manual_seed(0)
    return BoxGrid(in_channels=6, out_channels=10, **options)


@pytest.fixture
def features():
    torch.manual_seed(2)
    return Features(tuple(pyramid(SIZES)))


def test_reads_what_loops_read(features):
    roi_features = encoder_of_boxes().roi_features(features, PICTURES, BOXES)
    expected = roi_features_by_loops(features.levels, PICTURES, BOXES)
    assert {level_of(b) for b in BOXES.tolist()} == {0, 1, 2, 3, 4}
    torch.testing.assert_close(
        roi_features.double(), expected, atol=1e-4, rtol=0
    )


def at_another_level(encoder, *places):
    encoder.areas *= 4
    return places


def with_other_strides(encoder, *places):
    encoder.strides = [(s + 1, s + 1) for s in STRIDES]
    return places


def transposed(encoder, *places):
    encoder.centres = encoder.centres.flip(1)
    return places


@pytest.mark.parametrize(
    'spoil',
    [
        at_another_level,
        with_other_strides,
        transposed,
        lambda encoder, pictures, boxes: (pictures, boxes + 4),
        lambda encoder, pictures, boxes: (pictures, enlarged(boxes, 1.1)),
        lambda encoder, pictures, boxes: (1 - pictures, boxes),
    ],
    ids=['level', 'stride', 'transposed', 'half a pixel', 'frame', 'picture'],
)
def test_the_loops_notice_an_error(spoil, features):
    encoder = encoder_of_boxes()
    expected = roi_features_by_loops(features.levels, PICTURES, BOXES)
    spoilt = encoder.roi_features(features, *spoil(encoder, PICTURES, BOXES))
    assert (spoilt.double() - expected).abs().max() > 0.1


def test_the_centre_of_a_pixel_is_half_a_pixel_from_its_edges(features):
    for level, stride in enumerate(STRIDES):
        centre, reach = torch.tensor([3.5, 2.5]) * stride, 50 * 2**level
        box = torch.cat([centre - reach, centre + reach])[None]
        read = encoder_of_boxes().roi_features(features, PICTURES[:1], box)
        pixel = features.levels[level][0, :, 2, 3]
        torch.testing.assert_close(read[0, :, 3, 3], pixel)


def test_levels_are_those_of_mask_rcnn():
    """MMDetection's extractor with its default scale of 56."""
    levels = [
        torch.full((1, 1, *size), float(i)) for i, size in enumerate(SIZES)
    ]
    stock = SingleRoIExtractor(
        dict(type='RoIAlign', output_size=7), 1, [*STRIDES], finest_scale=56
    )
    sides = torch.tensor([112.0, 224, 448, 896])
    sides = torch.cat([sides, sides - 0.01, torch.tensor([0, 1, 55, 9999.0])])
    torch.manual_seed(0)
    ratio = torch.rand(len(sides)) + 0.5
    ratio[:4] = 1  # exact
    boxes = torch.stack(
        [0 * sides, 0 * sides, sides * ratio, sides / ratio], dim=1
    )
    rois = torch.cat([0 * sides[:, None], boxes], dim=1)
    expected = stock.map_roi_levels(rois, 5)
    found = encoder_of_boxes().roi_features(
        Features(tuple(levels)), torch.zeros(len(boxes)).long(), boxes
    )
    assert found[:, 0, 3, 3].tolist() == expected.tolist()
    assert [level_of(box) for box in boxes.tolist()] == expected.tolist()


def boxes_within(count):
    """Boxes of all levels, within the picture."""
    torch.manual_seed(1)
    sides = torch.tensor([60, 160, 320, 640, 1150])[torch.arange(count) % 5]
    sides = (sides[:, None] * (0.8 + 0.4 * torch.rand(count, 2))).clamp(
        max=950
    )
    corners = torch.rand(count, 2) * (torch.tensor(SIZE[::-1]) - sides)
    return torch.cat([corners, corners + sides], 1)


def test_values_and_gradients_are_roi_aligns(features):
    """Within the picture; RoIAlign is zero more than a pixel outside."""
    boxes = boxes_within(300)
    pictures = torch.randint(0, 2, (300,))
    levels = torch.tensor([level_of(b) for b in boxes.tolist()])
    found = encoder_of_boxes().roi_features(features, pictures, boxes)
    weight = torch.randn_like(found)
    grads = torch.autograd.grad((found * weight).sum(), features.levels)
    for level, (feat, grad) in enumerate(zip(features.levels, grads)):
        (of_level,) = (levels == level).nonzero(as_tuple=True)
        assert len(of_level) > 2
        rois = torch.cat(
            [pictures[of_level, None].float(), boxes[of_level]], 1
        )
        expected = roi_align(
            feat, rois, (7, 7), 1 / STRIDES[level], 1, 'avg', True
        )
        torch.testing.assert_close(
            found[of_level], expected, atol=1e-3, rtol=0
        )
        reference = torch.autograd.grad(
            (expected * weight[of_level]).sum(), feat
        )[0]
        torch.testing.assert_close(grad, reference, atol=1e-3, rtol=1e-3)


def instances_in(boxes, pictures=PICTURES):
    return Instances(pictures, boxes, torch.zeros_like(pictures), None)


@pytest.mark.parametrize('num_convs', [0, 2])
def test_an_embedding_is_made_of_its_own_box_alone(num_convs, features):
    encoder = encoder_of_boxes(num_convs=num_convs, conv_channels=8)
    boxes = boxes_within(len(BOXES))
    embeddings = encoder(features, instances_in(boxes))
    assert embeddings.shape == (len(BOXES), encoder.out_channels)
    for n, box, embedding in zip(PICTURES.tolist(), boxes, embeddings):
        expected = grid_embedding(encoder, features, n, box)
        torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-4)


def test_the_fine_map_is_read_at_the_same_places_and_added(features):
    encoder = encoder_of_boxes(fine_channels=5)
    fine = torch.randn(2, 5, SIZE[0] // 4, SIZE[1] // 4, requires_grad=True)
    features = Features(features.levels, fine)
    found = encoder.roi_features(features, PICTURES, BOXES)
    coarse = roi_features_by_loops(features.levels, PICTURES, BOXES)
    sampled = torch.stack(
        [
            read_by_loops(fine[picture], 4, box)
            for picture, box in zip(PICTURES.tolist(), BOXES)
        ]
    )
    expected = coarse.float() + encoder.lateral(sampled.float())
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)

    boxes = boxes_within(20)
    pictures = torch.arange(20) % 2
    rois = torch.cat([pictures[:, None].float(), boxes], dim=1)
    aligned = roi_align(fine, rois, (7, 7), 1 / 4, 1, 'avg', True)
    weight = torch.randn(20, 6, 7, 7)
    found = encoder.roi_features(features, pictures, boxes)
    (grad,) = torch.autograd.grad((found * weight).sum(), fine)
    (expected,) = torch.autograd.grad(
        (encoder.lateral(aligned) * weight).sum(), fine
    )
    torch.testing.assert_close(grad, expected, atol=1e-3, rtol=1e-3)


def test_a_fine_map_of_other_channels_is_refused(features):
    encoder = encoder_of_boxes(fine_channels=5)
    features = Features(features.levels, torch.randn(2, 6, 240, 272))
    with pytest.raises(ValueError, match='fine_channels=5 must be 6'):
        encoder(features, instances_in(BOXES))


def test_a_model_gives_its_mask_head_the_backbones_first_map():
    model = build_model(BOX_CONFIG).eval()
    maps = []
    model.backbone.register_forward_hook(lambda *args: maps.extend(args[2]))
    with torch.no_grad():
        features = model.extract_feat(torch.randn(1, 3, 64, 96))
    assert features.fine is maps[0]
    assert features.fine.shape == (1, 32, 16, 24)
    assert len(features.levels) == 5


@pytest.mark.parametrize('fine_channels', [0, 5])
def test_boxes_of_nan_harm_no_others(fine_channels, features):
    encoder = encoder_of_boxes(fine_channels=fine_channels)
    fine = torch.randn(2, 5, 240, 272, requires_grad=True)
    features = Features(features.levels, fine)
    bad = torch.tensor(
        [[NAN] * 4, [10, NAN, 60, 60], [-INF, -INF, INF, INF], [3e38] * 4]
    )
    pictures = torch.cat([PICTURES[:4], PICTURES])
    among = encoder.roi_features(features, pictures, torch.cat([bad, BOXES]))
    alone = encoder.roi_features(features, PICTURES, BOXES)
    assert among[:3].isnan().flatten(1).any(1).all()
    assert torch.equal(among[4:], alone)
    among.sum().backward()  # PyTorch may write outside of the gradients


def test_weights_and_maps_of_another_precision_than_the_boxes(features):
    encoder = encoder_of_boxes(fine_channels=5)
    fine, instances = torch.randn(2, 5, 240, 272), instances_in(BOXES)
    expected = encoder(Features(features.levels, fine), instances)
    levels = tuple(level.double() for level in features.levels)
    found = encoder.double()(Features(levels, fine.double()), instances)
    torch.testing.assert_close(found.float(), expected, atol=1e-3, rtol=1e-3)


def test_thousands_of_boxes_and_none(features):
    encoder = encoder_of_boxes(fine_channels=5)
    features = Features(features.levels, torch.randn(2, 5, 240, 272))
    many = BOXES.repeat(200, 1)
    with torch.no_grad():
        embeddings = encoder(
            features, instances_in(many, PICTURES.repeat(200))
        )
        few = encoder(features, instances_in(BOXES))
    torch.testing.assert_close(embeddings, few.repeat(200, 1))
    none = encoder(features, instances_in(BOXES[:0], PICTURES[:0]))
    assert none.shape == (0, encoder.out_channels)
    none.sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


# The mask head that reads boxes


@pytest.fixture
def head():
    model = build_model(BOX_CONFIG).eval()
    torch.nn.init.normal_(model.mask_head.decoder.classifier.weight, std=0.5)
    return model.mask_head


def maps(batch):
    """The features of pictures of 128 x 128 pixels."""
    sides = (16, 8, 4, 2, 1)
    levels = tuple(torch.randn(batch, 64, side, side) for side in sides)
    return Features(levels, torch.randn(batch, 32, 32, 32))


META = dict(pad_shape=(128, 128))


@pytest.mark.parametrize('frame', [1.0, 1.2])
def test_targets_are_the_masks_in_the_frames_that_are_read(head, frame):
    head.frame = frame
    gt = sample(OBJECTS, [0, 3, 5]).gt_instances
    torch.manual_seed(0)
    chosen = head.training_instances(1, gt, META, None)
    assert len(chosen.label) == 3 * head.sampler.copies
    assert chosen.location is None and set(chosen.picture.tolist()) == {1}
    plain = enlarged(chosen.box, 1 / frame)
    for box, label, target in zip(plain, chosen.label, chosen.target):
        (n,) = (gt.labels == label).nonzero()[0]
        assert (box - gt.bboxes[n]).abs().max() < 0.17 * 64
        truth = gt.masks.masks[n].astype(bool)
        filled = enlarged(box[None], frame)
        inside = paste_one_by_one(
            torch.ones(1, 32, 32), filled, (128, 128), 0.5
        )
        truth &= inside[0].numpy()

        def fit(cells, truth=truth, filled=filled):
            pasted = paste_one_by_one(cells[None], filled, (128, 128), 0.5)
            pasted = pasted.numpy()
            return (pasted & truth).sum() / (pasted | truth).sum()

        assert fit(target) > 0.93
        for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            assert fit(target.roll(shift, dims=axis)) < fit(target)


def test_masks_are_read_at_the_boxes_and_put_into_the_frames(head):
    """Also if detections have another size than the network's input."""
    head.frame = 1.2
    torch.manual_seed(0)
    features = maps(2)
    image = sample([], [])
    image.set_metainfo(dict(ori_shape=(256, 64), scale_factor=(2.0, 0.5)))
    boxes = torch.tensor([[10.0, 40, 40, 160], [2, 8, 60, 90]])
    second = InstanceData(bboxes=boxes, labels=torch.tensor([1, 4]))
    results = [second[:1], second]
    which = [0, 0, 1]
    with torch.no_grad():
        predicted = head.predict(
            features, [image, image], results, rescale=True
        )
        frames = enlarged(boxes * torch.tensor([2, 0.5, 2, 0.5]), 1.2)
        instances = Instances(
            torch.tensor([0, 1, 1]), frames[which], second.labels[which], None
        )
        logits = head(features, instances)
    expected = paste_one_by_one(
        logits.sigmoid(), enlarged(boxes, 1.2)[which], (256, 64), 0.5
    )
    masks = torch.cat([p.masks for p in predicted])
    assert masks.shape == (3, 256, 64)
    assert (masks != expected).float().mean() < 1e-4
    assert torch.equal(predicted[1].bboxes, boxes)
    outside = masks.clone()
    for mask, (x1, y1, x2, y2) in zip(outside, boxes[which].int()):
        mask[y1:y2, x1:x2] = False
    assert outside.any()  # a mask may pass its box, within its frame


def test_objects_without_a_mask_train_none(head):
    """They are ground truth, because their boxes train."""
    image = sample(OBJECTS, [0, 3, 5])
    image.gt_instances.masks.masks[1] = 0
    features = maps(1)
    chosen = head.training_instances(0, image.gt_instances, META, None)
    assert {len(x) for x in chosen if x is not None} == {
        2 * head.sampler.copies
    }
    assert set(chosen.label.tolist()) == {0, 5}
    image.gt_instances.masks.masks[:] = 0
    loss = head.loss(features, [image])['loss_mask']
    assert loss == 0
    loss.backward()
    assert all(p.grad is not None for p in head.parameters())
