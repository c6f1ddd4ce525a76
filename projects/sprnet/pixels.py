"""Pixels that train masks. Shape letters: see :mod:`.pyramid`."""

from typing import NamedTuple

import torch
from torch import Tensor

BOXES_AT_ONCE = 16  # bounds the memory of an image's overlaps


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
    """The best anchor of each pixel and the object that it overlaps most."""

    overlaps: Tensor  # (L,) largest IoU of any of its A anchors and any object
    anchors: Tensor  # (L,) index of that anchor, in 0..A - 1
    instances: Tensor  # (L,) index of that object, in 0..G - 1


def assign_pixels(anchors: Tensor, boxes: Tensor) -> Assignment:
    """Assign to each pixel the anchor and the object of largest overlap.

    Args:
        anchors: (L, A, 4) as (x1, y1, x2, y2).
        boxes: (G, 4) ground truth, without crowds.
    """
    return _assign(best_overlaps(anchors.flatten(0, 1), boxes), anchors.shape)


def _assign(best: BestOverlaps, shape: torch.Size) -> Assignment:
    """The assignment of anchors of shape (L, A, 4)."""
    overlaps, anchors = best.of_anchors.view(shape[:2]).max(dim=1)
    instances = best.boxes.view(shape[:2]).gather(1, anchors[:, None])
    return Assignment(overlaps, anchors, instances[:, 0])


def positive_pixels(
    anchors: Tensor, boxes: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Find the pixels that train a mask (sections 3.2 and 3.3).

    A pixel is positive if one of its anchors overlaps an object by more than
    ``threshold``. Its instance is the object that its best anchor overlaps
    most.

    Args:
        anchors, boxes: As for :func:`assign_pixels`.
        threshold: IoU, in 0..1.

    Returns:
        Pixels (P,), ascending, and the instance of each (P,), an index into
        ``boxes``.
    """
    overlaps, _, instances = assign_pixels(anchors, boxes)
    pixels = (overlaps > threshold).nonzero()[:, 0]
    return pixels, instances[pixels]


def positive_and_best_pixels(
    anchors: Tensor, boxes: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Find the positive pixels, and the best pixel of every other object.

    Args:
        As for :func:`positive_pixels`.

    Returns:
        The result of :func:`positive_pixels`, followed by the pixels of
        objects without a positive pixel, see :func:`best_pixels`, if they
        overlap an anchor.
    """
    best = best_overlaps(anchors.flatten(0, 1), boxes)
    overlaps, _, instances = _assign(best, anchors.shape)
    positive = overlaps > threshold
    # Negative pixels train object G, which does not exist.
    trained = torch.where(positive, instances, len(boxes))
    left_out = positive.new_ones(len(boxes) + 1).index_fill_(0, trained, False)
    # A GPU waits for nonzero, so there is only one.
    chosen = torch.cat([positive, left_out[:-1] & (best.of_boxes > 0)])
    chosen = chosen.nonzero()[:, 0]
    pixels = torch.arange(len(positive), device=boxes.device)
    objects = torch.arange(len(boxes), device=boxes.device)
    return (
        torch.cat([pixels, best.anchors // anchors.shape[1]])[chosen],
        torch.cat([instances, objects])[chosen],
    )


def best_pixels(anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Find the pixel with the anchor that overlaps each box most.

    Args:
        anchors: (L, A, 4).
        boxes: (G, 4).

    Returns:
        Pixels (G,) and the IoU of that anchor (G,). Among equal overlaps the
        first pixel counts.
    """
    best = best_overlaps(anchors.flatten(0, 1), boxes)
    return best.anchors // anchors.shape[1], best.of_boxes
