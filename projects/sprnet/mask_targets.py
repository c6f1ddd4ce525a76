"""Training targets: masks cropped to boxes. :mod:`.pasting` is the inverse."""

import torch
from mmcv.ops import roi_align
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData
from torch import Tensor

from .errors import InputError
from .samplers import Samples
from .structures import moved, parts

MASKS_AT_ONCE = 32  # bounds the memory of full-size masks
Masks = BitmapMasks | PolygonMasks


def sampled_targets(
    masks: Masks, samples: Samples, boxes: Tensor, size: int
) -> Tensor:
    """Make the targets of a picture's samples.

    Args:
        masks: Masks of its G objects.
        samples: Those that train.
        boxes: Regions that the masks fill: (P, 4) of the samples or, if they
            have no boxes of their own, (G, 4) of the objects.
        size: Side S of the targets, in cells.

    Returns:
        (P, S, S) of 0. and 1., on the boxes' device.
    """
    # The masks are on the CPU, so a GPU has to wait here, but only once.
    objects = samples.objects.cpu()
    if samples.boxes is not None:
        return mask_targets(masks, objects, boxes, size)
    # The samples of an object share its crop.
    used, crop_of = objects.unique(return_inverse=True)
    used_boxes = boxes[moved(used, boxes.device)]
    targets = mask_targets(masks, used, used_boxes, size)
    return targets[moved(crop_of, boxes.device)]


def mask_targets(
    masks: Masks, objects: Tensor, boxes: Tensor, size: int
) -> Tensor:
    """Crop masks to boxes and resize them to training targets (3.2).

    Args:
        masks: Masks of an image's G objects.
        objects: (P,) object of each crop, on the CPU or the boxes' device.
        boxes: (P, 4) as (x1, y1, x2, y2), in pixels of the masks.
        size: Side S of the targets, in cells.

    Returns:
        (P, S, S) of 0. and 1., on the boxes' device.
    """
    if not len(objects):  # CUDA launches no kernel without blocks
        return boxes.new_zeros(0, size, size)
    crop = _crop_polygons if isinstance(masks, PolygonMasks) else _crop_bitmaps
    both = (parts(x, MASKS_AT_ONCE) for x in (objects.cpu(), boxes))
    return torch.cat([crop(masks, *part, size) for part in zip(*both)])


def _crop_bitmaps(
    masks: BitmapMasks, objects: Tensor, boxes: Tensor, size: int
) -> Tensor:
    """As ``BitmapMasks.crop_and_resize`` does, but crops that share a mask
    share a copy of it, and a GPU keeps the results."""
    used, slots = objects.unique(return_inverse=True)
    bits = torch.from_numpy(masks.masks[used.numpy()])
    bits = moved(bits, boxes.device)[:, None].to(boxes).contiguous()
    slots = moved(slots, boxes.device).to(boxes)
    rois = torch.cat([slots[:, None], boxes], dim=1)
    cells = roi_align(bits, rois, (size, size), 1.0, 0, 'avg', True)
    return (cells[:, 0] >= 0.5).to(boxes)


def _crop_polygons(
    masks: PolygonMasks, objects: Tensor, boxes: Tensor, size: int
) -> Tensor:
    crops = masks.crop_and_resize(
        boxes.cpu().numpy(), (size, size), objects.numpy()
    )
    return crops.to_tensor(boxes.dtype, boxes.device)


def check_masks(gt: InstanceData, meta: dict) -> None:
    """Refuse a training image whose masks are missing or of another size.

    Args:
        gt: The image's objects.
        meta: Its meta information.

    Raises:
        InputError: Names the step of the pipeline at fault.
    """
    if 'masks' not in gt:
        raise InputError(
            'SPRHead: the training pipeline loads no masks; give its '
            'LoadAnnotations with_mask=True'
        )
    size = gt.masks.height, gt.masks.width
    keys = ('img_shape', 'pad_shape', 'batch_input_shape')
    sizes = {tuple(meta[key][:2]) for key in keys if key in meta}
    if len(gt) and size not in sizes:
        raise InputError(
            f'SPRHead: masks of {size} in an image of {meta["img_shape"][:2]} '
            '(height, width); a step of the training pipeline moves the image '
            'and the boxes without the masks'
        )


def with_masks(gt: InstanceData) -> InstanceData:
    """Return an image's objects without those whose mask is empty.

    An annotation without a segmentation is loaded with an empty mask, see
    :class:`.runtime.datasets.CheckedCocoDataset`. Its box trains.
    """
    exists = gt.masks.areas > 0
    return gt if exists.all() else gt[exists]
