"""Anchors, and the locations that train masks, as pure functions.

Shape letters: see :mod:`.structures`; P is of one picture here.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .pyramid import Sizes

BOXES_AT_ONCE = 16  # bounds the memory of a picture's overlaps


def grid_anchors(
    base_anchors: Tensor,
    strides: Sequence[tuple[int, int]],
    sizes: Sizes,
    pad_shape: Sequence[int],
) -> Tensor:
    """Return a picture's anchors; those in the padding have no area.

    They are those of MMDetection's ``AnchorGenerator``, which keeps the base
    anchors on the CPU, so that a GPU waits for each copy.

    Args:
        base_anchors: (levels, A, 4) around the first location of each level.
        strides: Of each level, as (x, y).
        sizes: Height and width of each level.
        pad_shape: Height and width of the picture with its own padding.

    Returns:
        (L, A, 4) as (x1, y1, x2, y2), in pixels of the network's input.
    """
    anchors = []
    for base, (across, down), (height, width) in zip(
        base_anchors, strides, sizes
    ):
        valid = base.new_zeros(height, width, 1, 1)
        rows = min(math.ceil(pad_shape[0] / down), height)
        columns = min(math.ceil(pad_shape[1] / across), width)
        valid[:rows, :columns] = 1
        y = torch.arange(height, device=base.device) * down
        x = torch.arange(width, device=base.device) * across
        shifts = torch.stack(torch.meshgrid(x, y, indexing='xy'), dim=-1)
        level = base + shifts.repeat(1, 1, 2)[:, :, None]
        anchors.append((level * valid).flatten(0, 1))
    return torch.cat(anchors)


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


class BestOverlaps(NamedTuple):
    """The best of G boxes for each of n anchors, and the other way round.

    Among equal overlaps the first box or anchor counts.
    """

    of_anchors: Tensor  # (n,) IoU, 0 without boxes
    boxes: Tensor  # (n,) in 0..G - 1
    of_boxes: Tensor  # (G,) IoU
    anchors: Tensor  # (G,) in 0..n - 1


def best_overlaps(anchors: Tensor, boxes: Tensor) -> BestOverlaps:
    """Find what overlaps most.

    Args:
        anchors: (n, 4) as (x1, y1, x2, y2), in pixels.
        boxes: (G, 4) likewise.
    """
    overlap = anchors.new_zeros(len(anchors))
    index = anchors.new_zeros(len(anchors), dtype=torch.long)
    of_boxes, best_anchors = [overlap[:0]], [index[:0]]
    for first in range(0, len(boxes), BOXES_AT_ONCE):
        iou = _pairwise_iou(boxes[first : first + BOXES_AT_ONCE], anchors)
        part_overlap, part_index = iou.max(dim=0)
        better = part_overlap > overlap
        overlap = torch.where(better, part_overlap, overlap)
        index = torch.where(better, part_index + first, index)
        part_overlap, part_index = iou.max(dim=1)
        of_boxes.append(part_overlap)
        best_anchors.append(part_index)
    return BestOverlaps(
        overlap, index, torch.cat(of_boxes), torch.cat(best_anchors)
    )


class Assignment(NamedTuple):
    """Each location's best anchor, and the object that it overlaps most."""

    overlaps: Tensor  # (L,) largest IoU of any of its A anchors and any object
    anchors: Tensor  # (L,) index of that anchor, in 0..A - 1
    objects: Tensor  # (L,) index of that object, in 0..G - 1


def assign_locations(anchors: Tensor, boxes: Tensor) -> Assignment:
    """Assign to each location the anchor and the object of largest overlap.

    Args:
        anchors: (L, A, 4) as (x1, y1, x2, y2).
        boxes: (G, 4) ground truth, without crowds.
    """
    return _assign(best_overlaps(anchors.flatten(0, 1), boxes), anchors.shape)


def _assign(best: BestOverlaps, shape: torch.Size) -> Assignment:
    """The assignment of anchors of shape (L, A, 4)."""
    overlaps, anchors = best.of_anchors.view(shape[:2]).max(dim=1)
    objects = best.boxes.view(shape[:2]).gather(1, anchors[:, None])
    return Assignment(overlaps, anchors, objects[:, 0])


def positive_locations(
    anchors: Tensor, boxes: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Find the locations that train a mask (sections 3.2 and 3.3).

    A location is positive if one of its anchors overlaps an object by more
    than ``threshold``. Its object is the one that its best anchor overlaps
    most.

    Args:
        anchors, boxes: As for :func:`assign_locations`.
        threshold: IoU, in 0..1.

    Returns:
        Locations (P,), ascending, and the object of each (P,), an index into
        ``boxes``.
    """
    overlaps, _, objects = assign_locations(anchors, boxes)
    locations = (overlaps > threshold).nonzero()[:, 0]
    return locations, objects[locations]


def positive_and_best_locations(
    anchors: Tensor, boxes: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Find the positive locations, and the best of every other object.

    Args:
        As for :func:`positive_locations`.

    Returns:
        The result of :func:`positive_locations`, followed by those of
        objects without a positive location, see :func:`best_locations`, if
        they overlap an anchor.
    """
    best = best_overlaps(anchors.flatten(0, 1), boxes)
    overlaps, _, objects = _assign(best, anchors.shape)
    positive = overlaps > threshold
    # Negative locations train object G, which does not exist.
    trained = torch.where(positive, objects, len(boxes))
    left_out = positive.new_ones(len(boxes) + 1).index_fill_(0, trained, False)
    # A GPU waits for nonzero, so there is only one.
    chosen = torch.cat([positive, left_out[:-1] & (best.of_boxes > 0)])
    chosen = chosen.nonzero()[:, 0]
    locations = torch.arange(len(positive), device=boxes.device)
    every_object = torch.arange(len(boxes), device=boxes.device)
    return (
        torch.cat([locations, best.anchors // anchors.shape[1]])[chosen],
        torch.cat([objects, every_object])[chosen],
    )


def best_locations(anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Find the location with the anchor that overlaps each box most.

    Args:
        anchors: (L, A, 4).
        boxes: (G, 4).

    Returns:
        Locations (G,) and the IoU of that anchor (G,). Among equal overlaps
        the first counts.
    """
    best = best_overlaps(anchors.flatten(0, 1), boxes)
    return best.anchors // anchors.shape[1], best.of_boxes
