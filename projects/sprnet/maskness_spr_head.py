from mmdet.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

from .masks import maskness
from .spr_head import SPRHead


@MODELS.register_module()
class MasknessSPRHead(SPRHead):
    """Beyond the paper: masks ranked by how sure they are of themselves.

    Detections get ``mask_scores`` too, their score times their mask's
    :func:`.masks.maskness`, by which MMDetection's CocoMetric ranks masks.
    Boxes keep their scores. Nothing is trained for it: a checkpoint of
    SPRHead fits.
    """

    def _add_masks(
        self, results: InstanceData, maps: Tensor, height: int, width: int
    ) -> None:
        super()._add_masks(results, maps, height, width)
        results.mask_scores = results.scores * maskness(
            maps, self.mask_threshold
        )
