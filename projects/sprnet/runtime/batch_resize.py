"""Multi-scale training that also resizes masks."""

from mmdet.models.data_preprocessors import BatchSyncRandomResize
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor


@MODELS.register_module()
class MaskBatchSyncRandomResize(BatchSyncRandomResize):
    """YOLOX's random size of a batch; MMDetection's leaves masks behind.

    Args:
        args, kwargs: As for mmdet's ``BatchSyncRandomResize``.
    """

    def forward(
        self, inputs: Tensor, data_samples: SampleList
    ) -> tuple[Tensor, SampleList]:
        """Resize a batch's images (N, 3, H, W), boxes and masks."""
        before = inputs.shape[-2:]
        inputs, data_samples = super().forward(inputs, data_samples)
        factors = [new / old for new, old in zip(inputs.shape[-2:], before)]
        for sample in data_samples:
            masks = sample.gt_instances.get('masks')
            if masks is not None and factors != [1, 1]:
                sides = zip((masks.height, masks.width), factors)
                sample.gt_instances.masks = masks.resize(
                    tuple(int(side * factor) for side, factor in sides)
                )
        return inputs, data_samples
