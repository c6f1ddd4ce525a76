"""The locations that train masks, as pure functions.

Shape letters: see :mod:`.structures`; P is of one picture here.
"""

from typing import NamedTuple

import torch
from torch import Tensor

BOXES_AT_ONCE = 16  # bounds the memory of a picture's overlaps


def _pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU (n, m) of boxes (n, 4) and (m, 4), in float32 or wider; 0 for empty
    and NaN boxes.

    The same numbers as from mmdet's ``bbox_overlaps``, for which a GPU waits.
    """
    # Areas exceed half precision, and a maximum would select NaN.
    dtype = torch.promote_types(first.dtype, torch.float32)
    x1, y1, x2, y2 = first.to(dtype)[:, None].unbind(2)
    left, top, right, bottom = second.to(dtype).unbind(1)
    width = (x2.minimum(right) - x1.maximum(left)).clamp_(min=0)
    height = (y2.minimum(bottom) - y1.maximum(top)).clamp_(min=0)
    shared = width.mul_(height)
    areas = (x2 - x1) * (y2 - y1) + (right - left) * (bottom - top)
    return shared.div_(areas.sub_(shared)).nan_to_num_(0)


class Assignment(NamedTuple):
    """What the anchors of L locations and G objects overlap most.

    Among equal overlaps the first anchor or object counts.
    """

    overlaps: Tensor  # (L,) largest IoU of any of its A anchors and any object
    anchors: Tensor  # (L,) index of that anchor, in 0..A - 1
    objects: Tensor  # (L,) index of that object, in 0..G - 1
    of_objects: Tensor  # (G,) largest IoU of each object and any anchor
    locations: Tensor  # (G,) location of that anchor


def assign_locations(anchors: Tensor, boxes: Tensor) -> Assignment:
    """Find what overlaps most: for each location, and for each object.

    Args:
        anchors: (L, A, 4) as (x1, y1, x2, y2), in pixels.
        boxes: (G, 4) ground truth likewise, without crowds.
    """
    per_location = anchors.shape[1]
    anchors = anchors.flatten(0, 1)
    overlap = anchors.new_zeros(len(anchors))
    index = anchors.new_zeros(len(anchors), dtype=torch.long)
    of_objects, best_anchors = [overlap[:0]], [index[:0]]
    for first in range(0, len(boxes), BOXES_AT_ONCE):
        iou = _pairwise_iou(boxes[first : first + BOXES_AT_ONCE], anchors)
        part_overlap, part_index = iou.max(dim=0)
        better = part_overlap > overlap
        overlap = torch.where(better, part_overlap, overlap)
        index = torch.where(better, part_index + first, index)
        part_overlap, part_index = iou.max(dim=1)
        of_objects.append(part_overlap)
        best_anchors.append(part_index)
    overlaps, best = overlap.view(-1, per_location).max(dim=1)
    return Assignment(
        overlaps,
        best,
        index.view(-1, per_location).gather(1, best[:, None])[:, 0],
        torch.cat(of_objects),
        torch.cat(best_anchors) // per_location,
    )


def positive_locations(
    assigned: Assignment, threshold: float
) -> tuple[Tensor, Tensor]:
    """Find the locations that train a mask (sections 3.2 and 3.3).

    A location is positive if one of its anchors overlaps an object by more
    than ``threshold``. Its object is the one that its best anchor overlaps
    most.

    Args:
        assigned: Of :func:`assign_locations`.
        threshold: IoU, in 0..1.

    Returns:
        Locations (P,), ascending, and the index of each one's object (P,).
    """
    locations = (assigned.overlaps > threshold).nonzero()[:, 0]
    return locations, assigned.objects[locations]


def positive_and_best_locations(
    assigned: Assignment, threshold: float
) -> tuple[Tensor, Tensor]:
    """Find the positive locations, and the best of every other object.

    Args:
        As for :func:`positive_locations`.

    Returns:
        The result of :func:`positive_locations`, followed by the locations of
        objects without a positive one, if they overlap an anchor.
    """
    positive = assigned.overlaps > threshold
    count = len(assigned.of_objects)
    # Negative locations train object G, which does not exist.
    trained = torch.where(positive, assigned.objects, count)
    left_out = positive.new_ones(count + 1).index_fill_(0, trained, False)
    # A GPU waits for nonzero, so there is only one.
    chosen = torch.cat([positive, left_out[:-1] & (assigned.of_objects > 0)])
    chosen = chosen.nonzero()[:, 0]
    locations = torch.arange(len(positive), device=positive.device)
    every_object = torch.arange(count, device=positive.device)
    return (
        torch.cat([locations, assigned.locations])[chosen],
        torch.cat([assigned.objects, every_object])[chosen],
    )
