"""Masks into and out of their boxes, as pure functions."""

from typing import Tuple, Union

import numpy as np
import torch
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from torch import Tensor

MASKS_AT_ONCE = 32  # bounds the memory of cropping full-size ground truth


def mask_targets(
    masks: Union[BitmapMasks, PolygonMasks], boxes: Tensor, size: int
) -> Tensor:
    """Crop each mask to its box and resize it to what trains it (3.2).

    Args:
        masks: G masks of an image.
        boxes: (G, 4) as (x1, y1, x2, y2), in pixels of the masks.
        size: side of the targets, in cells.

    Returns:
        (G, size, size) of 0. and 1., on the boxes' device.
    """
    targets = [boxes.new_zeros(0, size, size)]
    for first in range(0, len(boxes), MASKS_AT_ONCE):
        part = slice(first, first + MASKS_AT_ONCE)
        part_boxes = boxes[part].cpu().numpy()
        crops = masks[part].crop_and_resize(
            part_boxes, (size, size), np.arange(len(part_boxes)), boxes.device
        )
        targets.append(crops.to_tensor(boxes.dtype, boxes.device))
    return torch.cat(targets)


def maskness(probabilities: Tensor, threshold: float) -> Tensor:
    """How sure masks are of themselves.

    Args:
        probabilities: (n, S, S) in 0..1.
        threshold: a cell belongs to the mask from this probability on.

    Returns:
        (n,) mean probability of a mask's cells, 0 without any.
    """
    inside = probabilities >= threshold
    total = (probabilities * inside).sum(dim=(1, 2))
    return total / inside.sum(dim=(1, 2)).clamp(min=1)


def _interpolation(
    start: float, stop: float, cells: int, length: int
) -> Tuple[slice, Tensor]:
    """Bilinear weights of ``cells`` stretched over start..stop on one axis.

    Returns:
        The pixels of 0..length - 1 with their centres in start..stop, n of
        them, and their weights (n, cells). Beyond the centres of the first and
        last cell their values go on.
    """
    first = max(int(np.ceil(start - 0.5)), 0)
    last = max(min(int(np.ceil(stop - 0.5)), length), first)
    centres = torch.arange(first, last) + 0.5
    places = (centres - start) / max(stop - start, 1e-6) * cells - 0.5
    places = places.clamp(0, cells - 1)
    weights = 1 - (places[:, None] - torch.arange(cells)).abs()
    return slice(first, last), weights.clamp(min=0)


def paste_masks(
    probabilities: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float,
) -> Tensor:
    """Resize masks to their boxes and cut them at a threshold (3.3).

    Bilinear. A pixel belongs to a box if its centre does.

    Args:
        probabilities: (n, S, S) in 0..1.
        boxes: (n, 4) as (x1, y1, x2, y2), in pixels of the image.
        height, width: of the image.
        threshold: a pixel belongs to the mask from this probability on.

    Returns:
        (n, height, width) bool.
    """
    masks = torch.zeros(
        (len(boxes), height, width), dtype=torch.bool, device=boxes.device
    )
    cells = probabilities.shape[-1]
    for mask, grid, (x1, y1, x2, y2) in zip(
        masks, probabilities, boxes.tolist()
    ):
        rows, down = _interpolation(y1, y2, cells, height)
        columns, across = _interpolation(x1, x2, cells, width)
        patch = down.to(grid) @ grid @ across.to(grid).T
        mask[rows, columns] = patch >= threshold
    return masks
