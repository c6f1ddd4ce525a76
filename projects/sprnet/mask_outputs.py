"""What an SPRHead gives its masks as: its ``mask_output``."""

from typing import Dict, List

from mmdet.registry import TASK_UTILS
from torch import Tensor

from .pasting import paste_masks
from .rle import rle_masks


@TASK_UTILS.register_module()
class DenseMasks:
    """Pixels of the image, as every head of MMDetection gives them."""

    def __call__(
        self,
        probabilities: Tensor,
        boxes: Tensor,
        height: int,
        width: int,
        threshold: float,
    ) -> Tensor:
        """(n, height, width) bool, see :func:`.pasting.paste_masks`."""
        return paste_masks(probabilities, boxes, height, width, threshold)


@TASK_UTILS.register_module()
class RLEMasks:
    """COCO's run lengths, without an image of pixels for each mask.

    For large images and for evaluation: MMDetection's CocoMetric takes them
    as they are. Its visualizer does not.
    """

    def __call__(
        self,
        probabilities: Tensor,
        boxes: Tensor,
        height: int,
        width: int,
        threshold: float,
    ) -> List[Dict]:
        """n dicts of ``size`` and ``counts``, see :func:`.rle.rle_masks`."""
        return rle_masks(probabilities, boxes, height, width, threshold)
