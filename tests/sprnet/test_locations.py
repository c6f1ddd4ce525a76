import numpy as np
import pytest
import torch
from mmdet.models.task_modules import AnchorGenerator
from support.anchored import SIZES, anchors_of_locations, iou, random_boxes

from projects.sprnet.locations import (
    BOXES_AT_ONCE,
    best_overlaps,
    grid_anchors,
    positive_locations,
)


@pytest.mark.parametrize(
    'options',
    [
        dict(octave_base_scale=4, scales_per_octave=3, ratios=[0.5, 1.0, 2.0]),
        dict(scales=[8], ratios=[1.0], center_offset=0.5),
        dict(strides=[(8, 4), (16, 8), (32, 16), (64, 32)], scales=[2, 3]),
    ],
    ids=['octaves', 'centred', 'oblong'],
)
@pytest.mark.parametrize('pad_shape', [(128, 96), (65, 33), (1, 96), (999, 1)])
def test_anchors_are_mmdetections_and_have_no_area_in_the_padding(
    options, pad_shape
):
    options = dict(dict(strides=[8, 16, 32, 64], ratios=[1.0]), **options)
    generator = AnchorGenerator(**options)
    valid = generator.valid_flags(SIZES, pad_shape, device='cpu')
    expected = torch.cat(generator.grid_priors(SIZES, device='cpu'))
    expected[~torch.cat(valid)] = 0
    anchors = grid_anchors(
        torch.stack(generator.base_anchors),
        generator.strides,
        SIZES,
        pad_shape,
    )
    per_location = generator.num_base_anchors[0]
    assert torch.equal(anchors, expected.view(-1, per_location, 4))


@pytest.mark.parametrize('count', [0, 1, 7, 2 * BOXES_AT_ONCE + 3])
@pytest.mark.parametrize('threshold', [0.5, 0.7])
def test_positive_locations_are_the_papers_words(count, threshold):
    anchors, boxes = anchors_of_locations(), random_boxes(count)
    expected = {}
    for location, nine in enumerate(anchors.numpy().astype(np.float64)):
        if not count:
            continue
        overlaps = [
            [iou(anchor, box) for box in boxes.tolist()] for anchor in nine
        ]
        # "If any one of the 9 boxes has an overlap larger than ..."
        if max(map(max, overlaps)) > threshold:
            # "then select the anchor ... with highest overlap"
            best = max(overlaps, key=max)
            expected[location] = best.index(max(best))
    locations, objects = positive_locations(anchors, boxes, threshold)
    assert dict(zip(locations.tolist(), objects.tolist())) == expected
    assert locations.tolist() == sorted(expected)
    assert bool(expected) == (count > 1)


def test_of_equal_overlaps_the_first_box_counts():
    anchors = torch.tensor([[0.0, 0, 10, 10]])
    boxes = anchors.repeat(BOXES_AT_ONCE + 2, 1)
    best = best_overlaps(anchors, boxes)
    assert best.of_anchors.tolist() == [1] and best.boxes.tolist() == [0]
    best = best_overlaps(boxes, anchors)
    assert best.of_boxes.tolist() == [1] and best.anchors.tolist() == [0]
