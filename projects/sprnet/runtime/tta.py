import torch
from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

# The axes of (n, H, W) masks that mmdet's flips mirror
FLIPPED = dict(horizontal=(2,), vertical=(1,), diagonal=(1, 2))


@MODELS.register_module()
class MaskTTAModel(DetTTAModel):
    """Test-time augmentation that keeps masks, where DetTTAModel refuses them.

    Boxes are merged as DetTTAModel merges them; each that remains keeps the
    mask of its own view, mirrored back. Detections without masks are merged as
    well.

    Args:
        kwargs: As of DetTTAModel.

    Raises:
        TypeError: When it is to merge masks that are ``RLEMasks``.
    """

    def _merge_single_sample(
        self, data_samples: list[DetDataSample]
    ) -> DetDataSample:
        """Merge what was detected in the views of one image."""
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
            merged.masks = torch.cat([unflipped(s) for s in data_samples])
        if len(merged):
            boxes, kept = batched_nms(
                merged.bboxes, merged.scores, merged.labels, self.tta_cfg.nms
            )
            merged = merged[kept]
            merged.scores = boxes[:, 4]  # which soft NMS lowers
            merged = merged[: self.tta_cfg.max_per_img]
        result = data_samples[0]
        result.pred_instances = merged
        return result


def unflipped(sample: DetDataSample) -> Tensor:
    """Masks (n, H, W) of a view, as they lie in the image."""
    masks = sample.pred_instances.masks
    if not isinstance(masks, Tensor):
        raise TypeError(
            'MaskTTAModel merges DenseMasks, the default of '
            'mask_head.mask_output, not RLEMasks'
        )
    return masks.flip(FLIPPED[sample.flip_direction]) if sample.flip else masks
