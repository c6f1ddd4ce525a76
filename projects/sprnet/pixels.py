"""The pixels that train masks, as pure functions."""

from typing import NamedTuple

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor

BOXES_AT_ONCE = 16  # bounds the memory of the overlaps, whatever the image


def _overlaps(ones: Tensor, others: Tensor) -> Tensor:
    """IoU (M, G) of boxes (M, 4) and (G, 4), 0 for those of no area and of
    what is no number, single precision at least."""
    # Areas exceed half precision, and what is no number is the most of all.
    dtype = torch.promote_types(ones.dtype, torch.float32)
    return bbox_overlaps(ones.to(dtype), others.to(dtype)).nan_to_num_(0)


def best_boxes(anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The box that every anchor overlaps most.

    Args:
        anchors: (M, 4) as (x1, y1, x2, y2), in pixels.
        boxes: (G, 4) likewise.

    Returns:
        IoU (M,), 0 where there is no box, and index of the box (M,); of equal
        ones the first.
    """
    overlap = anchors.new_zeros(len(anchors))
    index = anchors.new_zeros(len(anchors), dtype=torch.long)
    for first, part in zip(
        range(0, len(boxes), BOXES_AT_ONCE), boxes.split(BOXES_AT_ONCE)
    ):
        part_overlap, part_index = _overlaps(anchors, part).max(dim=1)
        better = part_overlap > overlap
        overlap = torch.where(better, part_overlap, overlap)
        index = torch.where(better, part_index + first, index)
    return overlap, index


class Assignment(NamedTuple):
    """The anchor and the object of each of an image's L pixels."""

    overlaps: Tensor  # (L,) the largest IoU of an anchor and an object
    anchors: Tensor  # (L,) index of that anchor, in 0..A - 1
    instances: Tensor  # (L,) index of that object


def assign_pixels(anchors: Tensor, boxes: Tensor) -> Assignment:
    """Find the anchor of each pixel that overlaps an object most.

    Args:
        anchors: (L, A, 4) the A anchors of each pixel, as (x1, y1, x2, y2).
        boxes: (G, 4) ground truth, without crowds.
    """
    overlaps, instances = best_boxes(anchors.flatten(0, 1), boxes)
    overlaps, best = overlaps.view(anchors.shape[:2]).max(dim=1)
    instances = instances.view(anchors.shape[:2]).gather(1, best[:, None])
    return Assignment(overlaps, best, instances[:, 0])


def positive_pixels(
    anchors: Tensor, boxes: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """Find the pixels that train a mask (3.2 and 3.3).

    A pixel is positive if one of its anchors overlaps an object by more than
    ``threshold``. Its instance is the object that its best anchor overlaps
    most.

    Args:
        anchors, boxes: As of :func:`assign_pixels`.
        threshold: IoU, in 0..1.

    Returns:
        Pixels (P,), ascending, and the instance of each (P,), an index into
        ``boxes``.
    """
    overlaps, _, instances = assign_pixels(anchors, boxes)
    pixels = (overlaps > threshold).nonzero()[:, 0]
    return pixels, instances[pixels]


def best_pixels(anchors: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The pixel whose anchor overlaps each box most.

    Args:
        anchors: (L, A, 4). boxes: (G, 4).

    Returns:
        pixels (G,), of equal ones the first, and the IoU of each's anchor.
    """
    flat = anchors.flatten(0, 1)
    best = [
        _overlaps(part, flat).max(dim=1) for part in boxes.split(BOXES_AT_ONCE)
    ]
    overlaps = torch.cat([one.values for one in best])
    best = torch.cat([one.indices for one in best])
    return best // anchors.shape[1], overlaps
