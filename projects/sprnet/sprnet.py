"""The detector. Shape letters: see :mod:`.structures`."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.detectors.single_stage_instance_seg import (
    SingleStageInstanceSegmentor,
)
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, OptSampleList, SampleList
from mmdet.utils import ConfigType, InstanceList
from mmengine.utils import apply_to
from torch import Tensor, nn

from .detections import can_be_watched, predict_boxes_and_locations
from .errors import InputError
from .structures import Features, Instances

FROM_BOX_HEAD = ('num_classes', 'in_channels', 'anchor_generator')
# Pairs of attributes that must be equal, if both exist
MUST_MATCH = (
    ('bbox_head.in_channels', 'neck.out_channels'),
    ('mask_head.in_channels', 'neck.out_channels'),
    ('mask_head.num_classes', 'bbox_head.num_classes'),
    (
        'mask_head.prior_generator.strides',
        'bbox_head.prior_generator.strides',
    ),
    ('mask_head.encoder.strides', 'bbox_head.prior_generator.strides'),
    ('bbox_head.prior_generator.num_levels', 'neck.num_outs'),
)


def boxes_only(sample: DetDataSample) -> DetDataSample:
    """Copy a training image without its masks.

    Some assigners of stock heads work differently when they see masks.
    """
    sample, objects = sample.clone(), sample.gt_instances.clone()
    objects.pop('masks', None)
    sample.gt_instances = objects
    return sample


def in_float32(head: nn.Module, inputs: tuple, outputs: Sequence) -> tuple:
    """Forward hook that returns a head's outputs in float32 or wider.

    In mixed precision a stock head would compute its losses from half
    precision. mmcv's focal loss on a GPU then makes NaN of confident scores,
    and knows no bfloat16.
    """
    return apply_to(
        outputs,
        lambda x: isinstance(x, Tensor),
        lambda x: x.to(torch.promote_types(x.dtype, torch.float32)),
    )


@MODELS.register_module()
class SPRNet(SingleStageInstanceSegmentor):
    """Instance segmentation around a stock one-stage detector, Figure 2.

    The box head is MMDetection's own and unchanged. The mask head
    reconstructs a mask from the location behind each of its detections.

    Args:
        bbox_head (dict): A dense head, such as RetinaHead.
        mask_head (dict): An SPRHead. It inherits ``num_classes``,
            ``in_channels`` and ``anchor_generator`` from ``bbox_head``.
        args, kwargs: As for mmdet's ``SingleStageInstanceSegmentor``.

    Raises:
        InputError: The parts do not fit each other, or the locations behind
            the box head's detections cannot be recovered.
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
        self._check_parts()
        self.bbox_head.register_forward_hook(in_float32)

    def _check_parts(self) -> None:
        head = self.bbox_head
        encoder = self.mask_head.encoder
        if encoder.reads_locations and not can_be_watched(head):
            raise InputError(
                f'{type(self).__name__}: bbox_head.type={type(head).__name__} '
                'selects its detections in its own way, so the locations '
                'behind them, which '
                f'mask_head.encoder.type={type(encoder).__name__} reads, are '
                'unknown; use an encoder that reads boxes, such as '
                'BoxGrid, or a head that inherits predict_by_feat from '
                "MMDetection's BaseDenseHead"
            )
        for option, source in MUST_MATCH:
            value, expected = self._attribute(option), self._attribute(source)
            if None not in (value, expected) and value != expected:
                raise InputError(
                    f'{type(self).__name__}: {option}={value} must be '
                    f'{source}={expected}'
                )

    def _attribute(self, path: str) -> Any:
        """The attribute at a dotted path, None if it does not exist."""
        value = self
        for name in path.split('.'):
            value = getattr(value, name, None)
        return value

    def extract_feat(self, batch_inputs: Tensor) -> Features:
        """Return the feature maps that the heads read, of (N, 3, H, W)."""
        maps = self.backbone(batch_inputs)
        if not self.mask_head.encoder.fine_channels:
            return Features(tuple(self.neck(maps)))
        # RTMDet's neck does not read the first map.
        channels = getattr(self.neck, 'in_channels', None)
        read = len(channels) if isinstance(channels, list) else len(maps)
        return Features(tuple(self.neck(maps[-read:])), fine=maps[0])

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict:
        """Return the box head's losses and ``loss_mask``, to be summed (3.1).

        Args:
            batch_inputs: (N, 3, H, W) normalised images.
            batch_data_samples: With ``gt_instances``.
        """
        features = self.extract_feat(batch_inputs)
        losses = self.bbox_head.loss(
            features.levels, [boxes_only(s) for s in batch_data_samples]
        )
        losses.update(self.mask_head.loss(features, batch_data_samples))
        return losses

    def predict(
        self,
        batch_inputs: Tensor,
        batch_data_samples: SampleList,
        rescale: bool = True,
    ) -> SampleList:
        """Detect objects and their masks.

        Args:
            batch_inputs: (N, 3, H, W) normalised images.
            batch_data_samples: With the images' meta information.
            rescale: Return results at the images' original size.

        Returns:
            The samples with ``pred_instances``: ``bboxes`` (P, 4), ``scores``
            (P,), ``labels`` (P,), ``masks``, by default (P, H, W) bool, and
            the fields of :meth:`detect`.
        """
        features = self.extract_feat(batch_inputs)
        results = self.detect(features, batch_data_samples, rescale)
        results = self.mask_head.predict(
            features, batch_data_samples, results, rescale
        )
        return self.add_pred_to_datasample(batch_data_samples, results)

    def detect(
        self,
        features: Features,
        batch_data_samples: SampleList,
        rescale: bool,
    ) -> InstanceList:
        """Detect objects without their masks.

        Args:
            features: Those of the batch.
            batch_data_samples, rescale: As for :meth:`predict`.

        Returns:
            For each picture ``bboxes``, ``scores`` and ``labels``, as the
            stock detector predicts them, bit for bit; and, if the mask head's
            encoder reads it, the location behind each, ``locations`` (P,).
        """
        head, levels = self.bbox_head, features.levels
        if not self.mask_head.encoder.reads_locations:
            return head.predict(levels, batch_data_samples, rescale)
        metas = [sample.metainfo for sample in batch_data_samples]
        return predict_boxes_and_locations(head, levels, metas, rescale)

    def _forward(
        self, batch_inputs: Tensor, batch_data_samples: OptSampleList = None
    ) -> tuple:
        """Return raw outputs, for tools that measure or trace the network.

        Boxes are not decoded. Instances are the first locations of a picture,
        or the whole picture, as the encoder reads them, of class 0.

        Returns:
            The box head's outputs, and mask logits (N * P, S, S) for P =
            ``max_per_img`` instances of each picture.
        """
        features = self.extract_feat(batch_inputs)
        locations = sum(level[0, 0].numel() for level in features.levels)
        count = min(self.test_cfg.get('max_per_img', 100), locations)
        first = torch.arange(count, device=batch_inputs.device)
        location = first.repeat(len(batch_inputs))
        picture = torch.arange(len(location), device=location.device) // count
        height, width = batch_inputs.shape[2:]
        box = batch_inputs.new_tensor([[0, 0, width, height]])
        instances = Instances(
            picture, box.expand(len(location), 4), 0 * location, location
        )
        outs = self.bbox_head(features.levels)
        return (*outs, self.mask_head(features, instances))


@MODELS.register_module()
class FrozenSPRNet(SPRNet):
    """Add masks to a trained detector: only the mask head is trained.

    Backbone, neck and box head keep their weights and statistics. So boxes,
    scores and labels stay those of the detector that ``load_from`` names.

    Args:
        args, kwargs: As for :class:`SPRNet`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        for part in self._frozen():
            part.requires_grad_(False)

    def _frozen(self) -> list[nn.Module]:
        return [
            part for name, part in self.named_children() if name != 'mask_head'
        ]

    def train(self, mode: bool = True) -> 'FrozenSPRNet':
        """Set the mode of the mask head. All other parts stay in test mode,
        so that the statistics of their normalisation do not change."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        return self

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: SampleList
    ) -> dict:
        """Return ``loss_mask`` alone; arguments as for SPRNet."""
        with torch.no_grad():
            features = self.extract_feat(batch_inputs)
        return self.mask_head.loss(features, batch_data_samples)
