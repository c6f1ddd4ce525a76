import torch
from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ..errors import InputError

# The axes of (n, H, W) masks that mmdet's flips mirror
FLIPPED_AXES = dict(horizontal=(2,), vertical=(1,), diagonal=(1, 2))


@MODELS.register_module()
class MaskTTAModel(DetTTAModel):
    """Test-time augmentation that keeps masks; DetTTAModel refuses them.

    Boxes are merged as in DetTTAModel. Each remaining box keeps the mask of
    its own view, flipped back. Detectors without masks work too.

    Args:
        kwargs: See DetTTAModel.

    Raises:
        InputError: The masks to merge are ``RLEMasks``.
    """

    def _merge_single_sample(
        self, data_samples: list[DetDataSample]
    ) -> DetDataSample:
        """Merge the detections in all views of one image."""
        views = [sample.pred_instances for sample in data_samples]
        merged = InstanceData(
            bboxes=self.merge_aug_bboxes(
                [view.bboxes for view in views],
                None,
                [sample.metainfo for sample in data_samples],
            ),
            scores=torch.cat([view.scores for view in views]),
            labels=torch.cat([view.labels for view in views]),
        )
        if 'masks' in views[0]:
            merged.masks = torch.cat([unflip_masks(s) for s in data_samples])
        if len(merged):
            boxes, kept = batched_nms(
                merged.bboxes, merged.scores, merged.labels, self.tta_cfg.nms
            )
            merged = merged[kept]
            merged.scores = boxes[:, 4]  # soft NMS lowers scores
            merged = merged[: self.tta_cfg.max_per_img]
        result = data_samples[0]
        result.pred_instances = merged
        return result


def unflip_masks(sample: DetDataSample) -> Tensor:
    """Masks (n, H, W) of a view, flipped back to the original image."""
    masks = sample.pred_instances.masks
    if not isinstance(masks, Tensor):
        raise InputError(
            'MaskTTAModel merges DenseMasks, not RLEMasks; leave '
            'mask_head.mask_output at its default'
        )
    if not sample.flip:
        return masks
    return masks.flip(FLIPPED_AXES[sample.flip_direction])
