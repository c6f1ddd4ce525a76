"""Training targets: masks cropped to boxes. :mod:`.pasting` is the inverse."""

import numpy as np
import torch
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData
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


def check_masks(gt: InstanceData, meta: dict) -> None:
    """Refuse a training image whose masks are missing or of another size.

    Args:
        gt: The image's objects.
        meta: Its meta information.

    Raises:
        ValueError: Names the step of the pipeline at fault.
    """
    if 'masks' not in gt:
        raise ValueError(
            'SPRHead: the training pipeline loads no masks; give its '
            'LoadAnnotations with_mask=True'
        )
    size = gt.masks.height, gt.masks.width
    keys = ('img_shape', 'pad_shape', 'batch_input_shape')
    sizes = {tuple(meta[key][:2]) for key in keys if key in meta}
    if len(gt) and size not in sizes:
        raise ValueError(
            f'SPRHead: masks of {size} in an image of {meta["img_shape"][:2]} '
            '(height, width); a step of the training pipeline moves the image '
            'and the boxes without the masks'
        )
