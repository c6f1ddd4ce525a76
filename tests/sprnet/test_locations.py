import numpy as np
import pytest
import torch
from mmdet.models.task_modules import AnchorGenerator

from projects.sprnet.pixels import (
    BOXES_AT_ONCE,
    best_overlaps,
    positive_pixels,
)
from projects.sprnet.samplers import (
    EveryObjectLocationSampler,
    OverlapLocationSampler,
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
        if not count:
            continue
        overlaps = [
            [iou(anchor, box) for box in boxes.tolist()] for anchor in nine
        ]
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
    best = best_overlaps(anchors, boxes)
    assert best.of_anchors.tolist() == [1] and best.boxes.tolist() == [0]
    best = best_overlaps(boxes, anchors)
    assert best.of_boxes.tolist() == [1] and best.anchors.tolist() == [0]


def test_no_more_than_max_pixels_chosen_at_random():
    anchors, boxes = anchors_per_pixel(), random_boxes(30)
    positives = dict(
        zip(*(t.tolist() for t in positive_pixels(anchors, boxes, 0.5)))
    )
    sampler = OverlapLocationSampler(threshold=0.5, max_pixels=10)
    assert len(positives) > 20
    choices = set()
    for _ in range(5):
        chosen = sampler(anchors, boxes)
        assert torch.equal(chosen.boxes, boxes[chosen.instances])
        pixels, instances = (t.tolist() for t in chosen[:2])
        assert len(set(pixels)) == 10
        assert all(positives[p] == i for p, i in zip(pixels, instances))
        choices.add(tuple(sorted(pixels)))
    assert len(choices) > 1


def test_every_object_keeps_its_best_pixel():
    anchors = anchors_per_pixel()
    boxes = torch.tensor(
        [[24.0, 24, 56, 56], [70, 70, 75, 74], [5, 90, 9, 99]]
    )
    above = OverlapLocationSampler()(anchors, boxes)
    assert set(above.instances.tolist()) == {0}
    pixels, instances, _ = EveryObjectLocationSampler()(anchors, boxes)
    assert pixels[:-2].tolist() == above.pixels.tolist()
    assert instances.tolist() == above.instances.tolist() + [1, 2]
    for pixel, instance in zip(pixels[-2:].tolist(), (1, 2)):
        overlaps = [
            max(iou(a, boxes[instance].tolist()) for a in nine)
            for nine in anchors.tolist()
        ]
        assert overlaps[pixel] == max(overlaps)


def test_every_object_sampler_without_objects():
    samples = EveryObjectLocationSampler()(anchors_per_pixel(), torch.zeros(0, 4))
    assert [len(field) for field in samples] == [0, 0, 0]
