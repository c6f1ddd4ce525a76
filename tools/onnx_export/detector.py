"""An SPRNet in a form that a graph can be traced from."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.models.dense_heads import RetinaHead
from torch import Tensor, nn

from projects.sprnet import SPRHead, SPRNet

from .nms import suppress


def check_exportable(detector: nn.Module) -> None:
    """Refuse what :class:`TraceableSPRNet` would not compute as PyTorch does.

    Raises:
        ValueError: Names the part of the config, and what would do.
    """
    if not isinstance(detector, SPRNet):
        raise ValueError(
            f'model.type={type(detector).__name__} is not exported, SPRNet is'
        )
    head, mask_head = detector.bbox_head, detector.mask_head
    if type(mask_head) is not SPRHead:
        raise ValueError(
            f'model.mask_head.type={type(mask_head).__name__} is not '
            'exported, SPRHead is; the same checkpoint fits it'
        )
    name = type(head).__name__
    if not isinstance(head, RetinaHead):
        raise ValueError(
            f'model.bbox_head.type={name} is not exported, RetinaHead is'
        )
    if not head.use_sigmoid_cls or getattr(
        head.loss_cls, 'custom_cls_channels', False
    ):
        raise ValueError(
            f'model.bbox_head.loss_cls.type={type(head.loss_cls).__name__} '
            'is not exported, only scores by a sigmoid are'
        )
    cfg = head.test_cfg
    if cfg.nms.get('type', 'nms') != 'nms' or set(cfg.nms) - {
        'type',
        'iou_threshold',
    }:
        raise ValueError(
            f'model.test_cfg.nms={dict(cfg.nms)} is not exported, only '
            "type='nms' with an iou_threshold is"
        )
    if cfg.get('nms_pre', -1) < 1 or cfg.get('min_bbox_size', -1) > 0:
        raise ValueError(
            'model.test_cfg is exported only with nms_pre of at least 1 and '
            'without a min_bbox_size above 0, which is in pixels of the '
            'original image'
        )


class Candidates(NamedTuple):
    """What N images' detections are chosen from, M each."""

    boxes: Tensor  # (N, M, 4) as (x1, y1, x2, y2), in pixels of the input
    scores: Tensor  # (N, M)
    labels: Tensor  # (N, M)
    pixels: Tensor  # (N, M) of the pyramid


def candidates(
    head: RetinaHead,
    cls_scores: Sequence[Tensor],
    bbox_preds: Sequence[Tensor],
    image_shapes: Tensor,
) -> Candidates:
    """The ``nms_pre`` best of every level, as the head decodes them.

    The head drops those below its score threshold first, here NMS does: so
    there are equally many for every image.

    Args:
        cls_scores: (N, A * K, H_l, W_l) of every level.
        bbox_preds: (N, A * 4, H_l, W_l) of every level.
        image_shapes: (N, 2) height and width to which boxes are clipped.
    """
    classes = head.cls_out_channels
    anchors = head.prior_generator.grid_priors(
        [level.shape[2:] for level in cls_scores], device=image_shapes.device
    )
    start = 0
    levels: list[tuple[Tensor, ...]] = []
    for logits, deltas, priors in zip(cls_scores, bbox_preds, anchors):
        length = logits.shape[2] * logits.shape[3]
        logits = logits.flatten(1)
        count = torch.sym_min(head.test_cfg.nms_pre, logits.shape[1])
        logits, places = logits.topk(count)
        channels = places // length
        pixels = places - channels * length
        labels = channels % classes
        prior = pixels * head.num_base_priors + channels // classes
        # (N, A * 4, H, W) -> (N, H * W * A, 4), the order of anchors
        deltas = deltas.permute(0, 2, 3, 1).unflatten(3, (-1, 4)).flatten(1, 3)
        deltas = deltas.gather(1, prior[..., None].expand(-1, -1, 4))
        levels.append((priors[prior], deltas, logits, labels, start + pixels))
        start = start + length
    priors, deltas, logits, labels, pixels = (
        torch.cat(parts, dim=1) for parts in zip(*levels)
    )
    coder = head.bbox_coder
    boxes = coder.decode(priors.flatten(0, 1), deltas.flatten(0, 1))
    boxes = boxes.view_as(deltas)
    if coder.clip_border:
        # (N, 1, 4) of width, height, width, height: decode() clips all boxes
        # to one size.
        limits = image_shapes.flip(1).repeat(1, 2)[:, None].to(boxes)
        boxes = boxes.clamp(min=0).minimum(limits)
    return Candidates(boxes, logits.sigmoid(), labels, pixels)


class TraceableSPRNet(nn.Module):
    """An SPRNet's detections without anything that a graph cannot hold.

    It has the detector's own backbone, neck, box head, encoder and decoder.

    Args:
        detector: that :func:`check_exportable` lets pass.
    """

    def __init__(self, detector: SPRNet) -> None:
        super().__init__()
        self.detector = detector

    def forward(
        self, images: Tensor, image_shapes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Detections of a batch, image by image and best first.

        Args:
            images: (N, 3, H, W) normalised images, padded below and right.
            image_shapes: (N, 2) int64, heights and widths without padding.

        Returns:
            image_index (D,) of each detection's image, in 0..N - 1; boxes (D,
            4) as (x1, y1, x2, y2) in pixels of the input; scores (D,); labels
            (D,); masks (D, S, S), the probabilities of their cells.
        """
        head, mask_head = self.detector.bbox_head, self.detector.mask_head
        cfg = head.test_cfg
        feats = self.detector.extract_feat(images)
        levels = self.detector.levels(feats)
        found = candidates(head, *head(levels), image_shapes)
        boxes, scores = found.boxes, found.scores
        if cfg.get('min_bbox_size', -1) == 0:
            areas = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
            scores = torch.where(areas, scores, -1)
        # As mmcv does: classes apart, so that none suppresses another.
        apart = boxes + found.labels[..., None] * (boxes.max() + 1)
        image_index, places = suppress(
            apart,
            scores,
            cfg.nms.iou_threshold,
            cfg.score_thr,
            cfg.max_per_img,
        ).unbind(1)
        boxes, scores, labels, pixels = (
            field[image_index, places] for field in found
        )
        frames = mask_head.frames(boxes)
        # One more than there are: ONNX has no group norm of nothing.
        padded = [
            torch.cat([field, field.new_zeros(1, *field.shape[1:])])
            for field in (image_index, pixels, frames)
        ]
        codes = mask_head.encoder(feats, *padded)[:-1]
        logits = mask_head.decoder.one_each(codes, labels)
        return image_index, boxes, scores, labels, logits.sigmoid()
