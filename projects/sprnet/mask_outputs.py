"""Formats of predicted masks: the mask head's ``mask_output``."""

from mmdet.registry import TASK_UTILS

from .pasting import paste_masks
from .rle import rle_masks


@TASK_UTILS.register_module()
class DenseMasks:
    """Boolean images, as from every mask head of MMDetection.

    The call is :func:`.pasting.paste_masks`.
    """

    __call__ = staticmethod(paste_masks)


@TASK_UTILS.register_module()
class RLEMasks:
    """COCO's run lengths, made without a dense image for each mask.

    They suit large images and evaluation: MMDetection's CocoMetric accepts
    them. Its visualizer does not, and its DetInferencer only when asked for
    data samples. The call is :func:`.rle.rle_masks`.
    """

    __call__ = staticmethod(rle_masks)
