import numpy as np
import pytest
import torch
from support.anchored import anchors_of_locations, iou, random_boxes

from projects.sprnet.locations import (
    BOXES_AT_ONCE,
    assign_locations,
    positive_locations,
)


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
    assigned = assign_locations(anchors, boxes)
    locations, objects = positive_locations(assigned, threshold)
    assert dict(zip(locations.tolist(), objects.tolist())) == expected
    assert locations.tolist() == sorted(expected)
    assert bool(expected) == (count > 1)


def test_of_equal_overlaps_the_first_box_counts():
    anchor = torch.tensor([[0.0, 0, 10, 10]])
    many = anchor.repeat(BOXES_AT_ONCE + 2, 1)
    best = assign_locations(anchor[None], many)
    assert best.overlaps.tolist() == [1] and best.objects.tolist() == [0]
    best = assign_locations(many[:, None], anchor)
    assert best.of_objects.tolist() == [1] and best.locations.tolist() == [0]
