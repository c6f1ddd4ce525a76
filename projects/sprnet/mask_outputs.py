"""What an SPRHead gives its masks as: its ``mask_output``."""

from mmdet.registry import TASK_UTILS

from .pasting import paste_masks
from .rle import rle_masks


@TASK_UTILS.register_module()
class DenseMasks:
    """Pixels of the image, as every head of MMDetection gives them.

    Called as :func:`.pasting.paste_masks`.
    """

    __call__ = staticmethod(paste_masks)


@TASK_UTILS.register_module()
class RLEMasks:
    """COCO's run lengths, without an image of pixels for each mask.

    For large images and for evaluation: MMDetection's CocoMetric takes them
    as they are. Its visualizer does not, nor does its DetInferencer unless it
    is asked for data samples. Called as :func:`.rle.rle_masks`.
    """

    __call__ = staticmethod(rle_masks)
