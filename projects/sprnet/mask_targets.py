"""Training targets: masks cropped to boxes. :mod:`.pasting` is the inverse."""

import numpy as np
import torch
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from torch import Tensor

MASKS_AT_ONCE = 32  # bounds the memory of full-size masks


def mask_targets(
    masks: BitmapMasks | PolygonMasks,
    instances: Tensor,
    boxes: Tensor,
    size: int,
) -> Tensor:
    """Crop masks to boxes and resize them to training targets (3.2).

    Args:
        masks: Masks of an image's G objects.
        instances: (P,) object of each crop.
        boxes: (P, 4) as (x1, y1, x2, y2), in pixels of the masks.
        size: Side S of the targets, in cells.

    Returns:
        (P, S, S) of 0. and 1., on the boxes' device.
    """
    targets = [boxes.new_zeros(0, size, size)]
    indices, frames = instances.cpu().numpy(), boxes.cpu().numpy()
    for first in range(0, len(boxes), MASKS_AT_ONCE):
        part = slice(first, first + MASKS_AT_ONCE)
        crops = masks[indices[part]].crop_and_resize(
            frames[part],
            (size, size),
            np.arange(len(frames[part])),
            boxes.device,
        )
        targets.append(crops.to_tensor(boxes.dtype, boxes.device))
    return torch.cat(targets)
