import torch
from mmdet.registry import MODELS
from mmdet.structures import SampleList
from torch import Tensor

from .sprnet import SPRNet


@MODELS.register_module()
class FrozenSPRNet(SPRNet):
    """Masks for a detector that is finished: only the mask head is trained.

    Backbone, neck and box head keep their weights and statistics, so boxes,
    scores and labels stay those of the detector that ``load_from`` names.

    Args:
        args, kwargs: As of :class:`SPRNet`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for part in self._frozen():
            part.requires_grad_(False)

    def _frozen(self) -> list:
        return [
            part for name, part in self.named_children() if name != 'mask_head'
        ]

    def train(self, mode: bool = True) -> 'FrozenSPRNet':
        """Set the mode of the mask head; all else stays in test mode, lest
        its normalisation's statistics change."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict:
        """``loss_mask`` alone.

        Args:
            batch_inputs: (N, 3, H, W) normalised images.
            batch_data_samples: with ``gt_instances``.
        """
        with torch.no_grad():
            feats = self.extract_feat(batch_inputs)
        return self.mask_head.loss(feats, batch_data_samples)
