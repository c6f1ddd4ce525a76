from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.detectors.single_stage_instance_seg import (
    SingleStageInstanceSegmentor,
)
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, OptSampleList, SampleList
from mmdet.utils import ConfigType
from torch import Tensor

from .detections import predict_boxes_and_pixels

FROM_BOX_HEAD = ('num_classes', 'in_channels', 'anchor_generator')
# What must be equal, where both are there
EQUAL = (
    ('bbox_head.in_channels', 'neck.out_channels'),
    ('mask_head.in_channels', 'neck.out_channels'),
    ('mask_head.num_classes', 'bbox_head.num_classes'),
    (
        'mask_head.anchor_generator.strides',
        'bbox_head.prior_generator.strides',
    ),
    ('mask_head.anchor_generator.num_levels', 'neck.num_outs'),
    ('mask_head.encoder.strides', 'mask_head.anchor_generator.strides'),
)


def boxes_only(sample: DetDataSample) -> DetDataSample:
    """A training image without masks.

    A stock detector is given none, and some assigners work otherwise when
    they see some.
    """
    sample, objects = sample.clone(), sample.gt_instances.clone()
    objects.pop('masks', None)
    sample.gt_instances = objects
    return sample


@MODELS.register_module()
class SPRNet(SingleStageInstanceSegmentor):
    """Instance segmentation around a stock one-stage detector, Figure 2.

    The box head is MMDetection's own, trained and tested as ever; the mask
    head reconstructs a mask from the pixel behind each of its detections.

    Args:
        bbox_head (dict): A dense head, such as RetinaHead.
        mask_head (dict): An SPRHead. Of ``num_classes``, ``in_channels`` and
            ``anchor_generator`` it need say only what differs from
            ``bbox_head``.
        kwargs: As of mmdet's ``SingleStageInstanceSegmentor``.

    Raises:
        ValueError: Parts that do not fit each other, or a box head whose
            detections cannot be followed back to their pixels.
    """

    def __init__(
        self, *args, bbox_head: ConfigType, mask_head: ConfigType, **kwargs
    ) -> None:
        shared = {k: bbox_head[k] for k in FROM_BOX_HEAD if k in bbox_head}
        super().__init__(
            *args,
            bbox_head=bbox_head,
            mask_head={**shared, **mask_head},
            **kwargs,
        )
        head = self.bbox_head
        if type(head).predict_by_feat is not BaseDenseHead.predict_by_feat:
            raise ValueError(
                f'{type(self).__name__}: bbox_head.type={type(head).__name__} '
                'selects its detections in a way of its own, so that the '
                'pixels behind them are unknown; a head must inherit '
                "predict_by_feat from MMDetection's BaseDenseHead"
            )
        for one, other in EQUAL:
            value, expected = self._part(one), self._part(other)
            if None not in (value, expected) and value != expected:
                raise ValueError(
                    f'{type(self).__name__}: {one}={value} must be '
                    f'{other}={expected}'
                )

    def _part(self, path: str) -> Any:
        """What a dotted path leads to, None where there is no such."""
        part = self
        for name in path.split('.'):
            part = getattr(part, name, None)
        return part

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """The pyramid, (N, C, H_l, W_l) of every level, and after it the
        backbone's first map if the mask head's encoder reads that."""
        maps = self.backbone(batch_inputs)
        feats = tuple(self.neck(maps))
        fine = self.mask_head.encoder.fine_channels
        return (*feats, maps[0]) if fine else feats

    def levels(self, feats: Sequence[Tensor]) -> Sequence[Tensor]:
        """The pyramid of what :meth:`extract_feat` gives."""
        return feats[: self.mask_head.anchor_generator.num_levels]

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict:
        """Losses of the box head and ``loss_mask``; their sum trains (3.1).

        Args:
            batch_inputs: (N, 3, H, W) normalised images.
            batch_data_samples: with ``gt_instances``.
        """
        feats = self.extract_feat(batch_inputs)
        losses = self.bbox_head.loss(
            self.levels(feats), [boxes_only(s) for s in batch_data_samples]
        )
        losses.update(self.mask_head.loss(feats, batch_data_samples))
        return losses

    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList,
        rescale: bool = True,
    ) -> SampleList:
        """Detections with masks.

        Args:
            batch_inputs: (N, 3, H, W) normalised images.
            batch_data_samples: with the images' meta information.
            rescale: Results at the images' original size.

        Returns:
            The samples, each with ``pred_instances`` of ``bboxes`` (n, 4),
            ``scores`` (n,), ``labels`` (n,), ``masks``, by default (n, H, W)
            bool, and ``pixels`` (n,), the pixels of the pyramid that they
            come from.
        """
        feats = self.extract_feat(batch_inputs)
        results = predict_boxes_and_pixels(
            self.bbox_head,
            feats,
            [sample.metainfo for sample in batch_data_samples],
            rescale,
        )
        results = self.mask_head.predict(
            feats, batch_data_samples, results, rescale
        )
        return self.add_pred_to_datasample(batch_data_samples, results)

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: OptSampleList = None
    ) -> tuple:
        """Raw outputs: the box head's, and mask logits (N * n, S, S) of each
        image's n pixels of highest class score, n being ``max_per_img``.

        Boxes are not decoded; an encoder that reads boxes is given the first
        anchors of the pixels.
        """
        feats = self.extract_feat(batch_inputs)
        outs = self.bbox_head(self.levels(feats))
        scores = torch.cat([s.flatten(2) for s in outs[0]], dim=2)
        count = min(self.test_cfg.max_per_img, scores.shape[2])
        best, channels = scores.max(dim=1)
        pixels = best.topk(count, dim=1).indices
        labels = channels.gather(1, pixels) % self.bbox_head.cls_out_channels
        images = torch.arange(len(feats[0]), device=pixels.device)
        meta = dict(pad_shape=batch_inputs.shape[2:])
        boxes = self.mask_head.anchors(feats, meta)[:, 0]
        logits = self.mask_head(
            feats,
            images.repeat_interleave(count),
            pixels.flatten(),
            boxes[pixels.flatten()],
            labels.flatten(),
        )
        return (*outs, logits)


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
