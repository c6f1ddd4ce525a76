"""Masks out of their boxes into training, and how sure they are, as pure
functions; :mod:`.pasting` is the way back."""

from typing import Union

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
    # In float, and chosen instead of multiplied: half precision does not count
    # so far, and what is no number would stay so.
    total = probabilities.where(inside, 0).float().sum(dim=(1, 2))
    return total / inside.sum(dim=(1, 2)).clamp(min=1)
