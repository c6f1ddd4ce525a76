from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmdet.models.task_modules import AnchorGenerator
from support.helpers import build_model

from projects.sprnet.detections import (
    candidate_pixels,
    least_logit,
    predict_boxes_and_pixels,
)
from projects.sprnet.pixels import (
    BOXES_AT_ONCE,
    _all,
    _candidates,
    best_boxes,
    positive_pixels,
)
from projects.sprnet.samplers import (
    EveryObjectPixelSampler,
    OverlapPixelSampler,
)

SIZES = [(16, 12), (8, 6), (4, 3), (2, 2)]


def anchors_per_pixel():
    generator = AnchorGenerator(
        strides=[8, 16, 32, 64],
        octave_base_scale=4,
        scales_per_octave=3,
        ratios=[0.5, 1.0, 2.0],
    )
    return torch.cat(generator.grid_priors(SIZES, device='cpu')).view(-1, 9, 4)


def random_boxes(count):
    torch.manual_seed(0)
    centre, side = torch.rand(count, 2) * 110, torch.rand(count, 2) * 60 + 8
    return torch.cat([centre - side / 2, centre + side / 2], dim=1)


def iou(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area - width * height)


@pytest.mark.parametrize('count', [0, 1, 7, 2 * BOXES_AT_ONCE + 3])
@pytest.mark.parametrize('threshold', [0.5, 0.7])
def test_positive_pixels_against_loops_over_the_papers_words(count, threshold):
    anchors, boxes = anchors_per_pixel(), random_boxes(count)
    expected = {}
    for pixel, nine in enumerate(anchors.numpy().astype(np.float64)):
        overlaps = [
            [iou(anchor, box) for box in boxes.tolist()] for anchor in nine
        ]
        if not count:
            continue
        # "If any one of the 9 boxes has an overlap larger than ..."
        if max(map(max, overlaps)) > threshold:
            # "then select the anchor ... with highest overlap"
            best = max(overlaps, key=max)
            expected[pixel] = best.index(max(best))
    pixels, instances = positive_pixels(anchors, boxes, threshold)
    assert dict(zip(pixels.tolist(), instances.tolist())) == expected
    assert pixels.tolist() == sorted(expected)
    assert bool(expected) == (count > 1)


def test_of_equal_overlaps_the_first_box_counts():
    anchors = torch.tensor([[0.0, 0, 10, 10]])
    boxes = anchors.repeat(BOXES_AT_ONCE + 2, 1)
    overlap, index = best_boxes(anchors, boxes)
    assert overlap.tolist() == [1] and index.tolist() == [0]


def test_no_more_than_max_pixels_chosen_at_random():
    anchors, boxes = anchors_per_pixel(), random_boxes(30)
    everything = dict(
        zip(*(t.tolist() for t in positive_pixels(anchors, boxes, 0.5)))
    )
    sampler = OverlapPixelSampler(threshold=0.5, max_pixels=10)
    assert len(everything) > 20
    choices = set()
    for _ in range(5):
        chosen = sampler(anchors, boxes)
        assert torch.equal(chosen.boxes, boxes[chosen.instances])
        pixels, instances = (t.tolist() for t in chosen[:2])
        assert len(set(pixels)) == 10
        assert all(everything[p] == i for p, i in zip(pixels, instances))
        choices.add(tuple(sorted(pixels)))
    assert len(choices) > 1


def test_every_object_keeps_its_best_pixel():
    anchors = anchors_per_pixel()
    boxes = torch.tensor(
        [[24.0, 24, 56, 56], [70, 70, 75, 74], [5, 90, 9, 99]]
    )
    alone = OverlapPixelSampler()(anchors, boxes)
    assert set(alone[1].tolist()) == {0}
    pixels, instances, _ = EveryObjectPixelSampler()(anchors, boxes)
    assert pixels[:-2].tolist() == alone[0].tolist()
    assert instances.tolist() == alone[1].tolist() + [1, 2]
    for pixel, instance in zip(pixels[-2:].tolist(), (1, 2)):
        overlaps = [
            max(iou(a, boxes[instance].tolist()) for a in nine)
            for nine in anchors.tolist()
        ]
        assert overlaps[pixel] == max(overlaps)


def test_every_object_sampler_without_objects():
    samples = EveryObjectPixelSampler()(anchors_per_pixel(), torch.zeros(0, 4))
    assert [len(field) for field in samples] == [0, 0, 0]


@pytest.mark.parametrize(
    'option', [dict(threshold=1.5), dict(threshold=-0.1), dict(max_pixels=0)]
)
def test_wrong_options_are_named(option):
    ((name, value),) = option.items()
    with pytest.raises(
        ValueError, match=f'OverlapPixelSampler: {name}={value} must'
    ):
        OverlapPixelSampler(**option)


@pytest.fixture(scope='module')
def detector():
    """With scores over the threshold, as a trained one has."""
    model = build_model().eval()
    head = model.bbox_head
    torch.nn.init.normal_(head.retina_cls.weight, std=0.3)
    torch.nn.init.constant_(head.retina_cls.bias, -3)
    torch.nn.init.normal_(head.retina_reg.weight, std=0.02)
    return model


def metas(count, size=(128, 160), scale=(1.25, 1.6)):
    return [
        dict(
            img_shape=size,
            ori_shape=(100, 100),
            scale_factor=scale,
            pad_shape=size,
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize('rescale', [False, True])
@pytest.mark.parametrize('min_bbox_size', [-1, 0, 30])
def test_detections_are_the_stock_heads_bit_for_bit(
    detector, rescale, min_bbox_size
):
    torch.manual_seed(3)
    feats = detector.extract_feat(torch.randn(2, 3, 128, 160))
    head = detector.bbox_head
    head.test_cfg.min_bbox_size = min_bbox_size
    expected = head.predict_by_feat(
        *head(feats), batch_img_metas=metas(2), rescale=rescale
    )
    found = predict_boxes_and_pixels(head, feats, metas(2), rescale)
    head.test_cfg.min_bbox_size = 0
    for ours, stock in zip(found, expected):
        assert len(stock) > 50
        for field in ('bboxes', 'scores', 'labels'):
            assert torch.equal(ours[field], stock[field]), field


def test_pixels_are_where_the_boxes_and_scores_come_from(detector):
    """Decode each detection's own pixel; its box and score must be there."""
    torch.manual_seed(3)
    feats = detector.extract_feat(torch.randn(2, 3, 128, 160))
    head = detector.bbox_head
    scores, deltas = head(feats)
    sizes = [s.shape[-2:] for s in scores]
    priors = torch.cat(head.prior_generator.grid_priors(sizes, device='cpu'))
    for n, results in enumerate(
        predict_boxes_and_pixels(head, feats, metas(2), rescale=False)
    ):
        flat_scores = torch.cat(
            [
                s[n].permute(1, 2, 0).reshape(-1, 9, head.num_classes)
                for s in scores
            ]
        )
        flat_deltas = torch.cat(
            [d[n].permute(1, 2, 0).reshape(-1, 4) for d in deltas]
        )
        boxes = head.bbox_coder.decode(
            priors, flat_deltas, max_shape=(128, 160)
        ).view(-1, 9, 4)
        assert len(results) == 100
        for detection in range(100):
            pixel = results.pixels[detection]
            score = flat_scores[pixel, :, results.labels[detection]].sigmoid()
            same_score = torch.isclose(score, results.scores[detection])
            same_box = torch.isclose(boxes[pixel], results.bboxes[detection])
            assert (same_score & same_box.all(dim=1)).any()


LOW = [torch.float16, torch.bfloat16]
THRESHOLDS = [0, 1e-3, 0.05, 0.5, 0.95, 0.999, 1]


@pytest.mark.parametrize('threshold', THRESHOLDS)
@pytest.mark.parametrize('dtype', [torch.float32, *LOW])
def test_least_logit_is_exceeded_where_the_sigmoid_exceeds(dtype, threshold):
    if dtype in LOW:  # all there are
        x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
        x = x[x.isfinite()]
    else:
        torch.manual_seed(0)
        edge = torch.tensor(threshold).logit(eps=1e-7)
        near = edge + 1e-5 * torch.randn(10**5)
        x = torch.cat([near, 30 * torch.randn(10**5)])
    above = x.sigmoid() > threshold
    likely = x > least_logit(threshold, dtype)
    assert not (above & ~likely).any()
    if threshold in (0.05, 0.5, 0.95):
        assert above.any()
        near = 1e-4 if dtype is torch.float32 else 0.7
        unlikely = x < torch.tensor(threshold).logit() - near
        assert unlikely.any() and not (likely & unlikely).any()


def score_maps(dtype=torch.float32, classes=3):
    """Of two anchors a pixel, and the head that they would come from."""
    torch.manual_seed(0)
    maps = [3 * torch.randn(2 * classes, *s) - 3 for s in SIZES]
    maps[2] -= 90  # a level without candidates
    head = SimpleNamespace(
        cls_out_channels=classes,
        use_sigmoid_cls=True,
        loss_cls=None,
        prior_generator=SimpleNamespace(num_base_priors=[2] * len(SIZES)),
    )
    return [m.to(dtype) for m in maps], head


def by_loops(maps, threshold, count):
    """Pixel of each score over the threshold, level by level, at most
    ``count`` each, best first."""
    pixels, start = [], 0
    for level in maps:
        scores = level.sigmoid().flatten(1)
        found = [
            (-score, pixel)
            for pixel, column in enumerate(scores.T.tolist())
            for score in column
            if score > threshold
        ]
        pixels += [start + pixel for _, pixel in sorted(found)[:count]]
        start += scores.shape[1]
    return pixels


@pytest.mark.parametrize('threshold', THRESHOLDS)
@pytest.mark.parametrize('dtype', [torch.float32, *LOW])
@pytest.mark.parametrize('count', [20, 1000])
def test_candidates_are_those_of_all_pixels(dtype, threshold, count):
    maps, head = score_maps(dtype)
    cfg = dict(score_thr=threshold, nms_pre=count)
    expected, scores = _candidates(maps, head, cfg, _all)
    pixels = candidate_pixels(maps, head, cfg, scores)
    assert torch.equal(pixels, expected)
    if dtype is torch.float32:  # where no two are equal
        assert pixels.tolist() == by_loops(maps, threshold, count)
        assert bool(len(pixels)) == (threshold < 1)


def nothing(logits, head, threshold):
    return torch.zeros_like(logits[0], dtype=torch.bool)


def all_but_one(logits, head, threshold):
    places = _all(logits, head, threshold)
    places.view(-1)[logits.amax(dim=0).argmax()] = False
    return places


@pytest.mark.parametrize('guess', [nothing, all_but_one])
def test_a_wrong_guess_is_noticed(monkeypatch, guess):
    """Also where it gives as many candidates."""
    maps, head = score_maps()
    cfg = dict(score_thr=0.05, nms_pre=3)
    expected, scores = _candidates(maps, head, cfg, _all)
    monkeypatch.setattr('projects.sprnet.pixels._likely', guess)
    guessed, _ = _candidates(maps, head, cfg, guess)
    assert not torch.equal(guessed, expected)
    assert torch.equal(candidate_pixels(maps, head, cfg, scores), expected)


def test_a_score_that_is_no_number_hides_no_other():
    maps, head = score_maps()
    maps[0][0] = float('nan')
    cfg = dict(score_thr=0.05, nms_pre=20)
    expected, scores = _candidates(maps, head, cfg, _all)
    assert torch.equal(candidate_pixels(maps, head, cfg, scores), expected)
    assert (expected < SIZES[0][0] * SIZES[0][1]).sum() == 20
