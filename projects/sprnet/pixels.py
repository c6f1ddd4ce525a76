"""Pixels that train masks. Shape letters: see :mod:`.pyramid`."""

from typing import NamedTuple

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

from .chunks import slices

BOXES_AT_ONCE = 16  # bounds the memory of an image's overlaps


def _pairwise_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU (n, m) of boxes (n, 4) and (m, 4), in float32 or wider; 0 for empty
    and NaN boxes."""
    # Areas exceed half precision, and a maximum would select NaN.
    dtype = torch.promote_types(first.dtype, torch.float32)
    return bbox_overlaps(first.to(dtype), second.to(dtype)).nan_to_num_(0)


def best_boxes(anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Find the box that each anchor overlaps most.

    Args:
        anchors: (n, 4) as (x1, y1, x2, y2), in pixels.
        boxes: (G, 4) likewise.

    Returns:
        IoU (n,), 0 without boxes, and index of the box (n,). Among equal
        overlaps the first box counts.
    """
    overlap = anchors.new_zeros(len(anchors))
    index = anchors.new_zeros(len(anchors), dtype=torch.long)
    for first in range(0, len(boxes), BOXES_AT_ONCE):
        part = boxes[first : first + BOXES_AT_ONCE]
        part_overlap, part_index = _pairwise_iou(anchors, part).max(dim=1)
        better = part_overlap > overlap
        overlap = torch.where(better, part_overlap, overlap)
        index = torch.where(better, part_index + first, index)
    return overlap, index


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
    overlaps, instances = best_boxes(anchors.flatten(0, 1), boxes)
    overlaps, best = overlaps.view(anchors.shape[:2]).max(dim=1)
    instances = instances.view(anchors.shape[:2]).gather(1, best[:, None])
    return Assignment(overlaps, best, instances[:, 0])


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
    overlaps, _, instances = assign_pixels(anchors, boxes)
    positive = overlaps > threshold
    best, best_overlaps = best_pixels(anchors, boxes)
    # Negative pixels train object G, which does not exist.
    trained = torch.where(positive, instances, len(boxes))
    left_out = positive.new_ones(len(boxes) + 1).index_fill_(0, trained, False)
    # A GPU waits for nonzero, so there is only one.
    chosen = torch.cat([positive, left_out[:-1] & (best_overlaps > 0)])
    chosen = chosen.nonzero()[:, 0]
    pixels = torch.arange(len(positive), device=boxes.device)
    objects = torch.arange(len(boxes), device=boxes.device)
    return (
        torch.cat([pixels, best])[chosen],
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
    flat = anchors.flatten(0, 1)
    best = [
        _pairwise_iou(boxes[part], flat).max(dim=1)
        for part in slices(len(boxes), BOXES_AT_ONCE)
    ]
    overlaps = torch.cat([part.values for part in best])
    indices = torch.cat([part.indices for part in best])
    return indices // anchors.shape[1], overlaps
