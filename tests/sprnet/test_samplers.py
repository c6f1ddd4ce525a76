import torch
from support.anchored import anchors_of_locations, iou, random_boxes
from support.helpers import NAN

from projects.sprnet.locations import assign_locations, positive_locations
from projects.sprnet.samplers import (
    EveryObjectLocationSampler,
    JitteredBoxSampler,
    OverlapLocationSampler,
)


def test_no_more_than_max_locations_chosen_at_random():
    anchors, boxes = anchors_of_locations(), random_boxes(30)
    found = positive_locations(assign_locations(anchors, boxes), 0.5)
    positives = dict(zip(*(t.tolist() for t in found)))
    sampler = OverlapLocationSampler(threshold=0.5, max_locations=10)
    assert len(positives) > 20
    choices = set()
    for _ in range(5):
        objects, locations, frames = sampler(boxes, anchors)
        assert frames is None
        locations = locations.tolist()
        assert len(set(locations)) == 10
        assert [positives[i] for i in locations] == objects.tolist()
        choices.add(tuple(sorted(locations)))
    assert len(choices) > 1


def test_every_object_keeps_its_best_location():
    anchors = anchors_of_locations()
    boxes = torch.tensor(
        [[24.0, 24, 56, 56], [70, 70, 75, 74], [5, 90, 9, 99]]
    )
    above = OverlapLocationSampler()(boxes, anchors)
    assert set(above.objects.tolist()) == {0}
    objects, locations, _ = EveryObjectLocationSampler()(boxes, anchors)
    assert locations[:-2].tolist() == above.locations.tolist()
    assert objects.tolist() == above.objects.tolist() + [1, 2]
    for location, index in zip(locations[-2:].tolist(), (1, 2)):
        overlaps = [
            max(iou(a, boxes[index].tolist()) for a in nine)
            for nine in anchors.tolist()
        ]
        assert overlaps[location] == max(overlaps)


def test_locations_without_objects():
    for sampler in OverlapLocationSampler(), EveryObjectLocationSampler():
        samples = sampler(torch.zeros(0, 4), anchors_of_locations())
        assert len(samples.objects) == len(samples.locations) == 0


def test_every_object_trains_in_boxes_near_its_own():
    boxes = torch.tensor(
        [[40.0, 44, 70, 75], [2, 2, 8, 8], [9, 9, 9, 20], [NAN, 1, 2, 3]]
    )
    torch.manual_seed(0)
    objects, locations, frames = JitteredBoxSampler(copies=3)(boxes)
    assert objects.tolist() == [0, 1] * 3
    assert locations is None
    assert len(frames.unique(dim=0)) == 6
    shifts = frames - boxes[objects]
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)[objects]
    assert (shifts.abs() <= 0.1601 * sides).all() and shifts.all()


def test_no_more_than_max_boxes_chosen_at_random():
    boxes = random_boxes(50)
    torch.manual_seed(0)
    sampler = JitteredBoxSampler(copies=2, max_boxes=30)
    chosen = [sampler(boxes).objects for _ in range(2)]
    assert all(len(c) == 30 for c in chosen)
    assert set(chosen[0].tolist()) != set(chosen[1].tolist())
    none = sampler(boxes[:0])
    assert len(none.objects) == len(none.boxes) == 0
