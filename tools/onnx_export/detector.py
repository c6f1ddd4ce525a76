"""An SPRNet as a module that torch.export can trace.

Shapes: N images, A anchors of a location, K classes, M candidates of an image,
P detections of all images together, S cells along a side of a mask.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from mmdet.models.dense_heads import RetinaHead, RTMDetHead
from torch import Tensor, nn

from projects.sprnet import SPRHead, SPRNet
from projects.sprnet.errors import InputError
from projects.sprnet.structures import Instances

from .nms import suppress

# Their scores are sigmoids of their first output, and bbox_coder decodes the
# second.
HEADS = (RetinaHead, RTMDetHead)


def _obstacles(detector: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield each option that prevents the export, and what to use instead."""
    if not isinstance(detector, SPRNet):
        yield f'model.type={type(detector).__name__}', 'SPRNet'
    head, mask_head = detector.bbox_head, detector.mask_head
    if type(mask_head) is not SPRHead:
        name = type(mask_head).__name__
        yield (
            f'model.mask_head.type={name}',
            'SPRHead, which can load the same checkpoint',
        )
    if not isinstance(head, HEADS):
        yield (
            f'model.bbox_head.type={type(head).__name__}',
            ' or '.join(kind.__name__ for kind in HEADS),
        )
    loss = head.loss_cls
    if not head.use_sigmoid_cls or getattr(loss, 'custom_cls_channels', False):
        yield (
            f'model.bbox_head.loss_cls.type={type(loss).__name__}',
            'a loss with use_sigmoid=True',
        )
    cfg = head.test_cfg
    others = set(cfg.nms) - {'type', 'iou_threshold'}
    if cfg.nms.get('type', 'nms') != 'nms' or others:
        yield (
            f'model.test_cfg.nms={dict(cfg.nms)}',
            "type='nms' with only an iou_threshold",
        )
    if cfg.get('nms_pre', -1) < 1:
        yield f'model.test_cfg.nms_pre={cfg.get("nms_pre")}', 'at least 1'
    # In pixels of the original image, which the graph does not know
    if cfg.get('min_bbox_size', -1) > 0:
        yield f'model.test_cfg.min_bbox_size={cfg.min_bbox_size}', '0 or less'


def check_exportable(detector: nn.Module) -> None:
    """Check that :class:`TraceableSPRNet` would compute what PyTorch does.

    Raises:
        InputError: It would not; names the option, its value and the remedy.
    """
    for option, remedy in _obstacles(detector):
        raise InputError(f'{option} cannot be exported; use {remedy}')


class Candidates(NamedTuple):
    """M candidates for the detections of each of N images."""

    boxes: Tensor  # (N, M, 4) as (x1, y1, x2, y2), in pixels of the input
    scores: Tensor  # (N, M)
    labels: Tensor  # (N, M)
    locations: Tensor  # (N, M) of the pyramid


def candidates(
    head: RetinaHead | RTMDetHead,
    cls_scores: Sequence[Tensor],
    bbox_preds: Sequence[Tensor],
    image_shapes: Tensor,
) -> Candidates:
    """Decode the ``nms_pre`` best candidates of every level as the head does.

    The head also drops candidates below the score threshold. Here NMS drops
    them later, so that all images have equally many.

    Args:
        head: the detector's box head.
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
        logits, indices = logits.topk(count)
        channels = indices // length
        places = indices - channels * length
        labels = channels % classes
        prior = places * head.num_base_priors + channels // classes
        # (N, A * 4, H, W) -> (N, H * W * A, 4), the order of anchors
        deltas = deltas.permute(0, 2, 3, 1).unflatten(3, (-1, 4)).flatten(1, 3)
        deltas = deltas.gather(1, prior[..., None].expand(-1, -1, 4))
        levels.append((priors[prior], deltas, logits, labels, start + places))
        start = start + length
    priors, deltas, logits, labels, locations = (
        torch.cat(parts, dim=1) for parts in zip(*levels)
    )
    coder = head.bbox_coder
    boxes = coder.decode(priors.flatten(0, 1), deltas.flatten(0, 1))
    boxes = boxes.view_as(deltas)
    if coder.clip_border:
        # decode() can only clip all boxes to one size. These limits are
        # (N, 1, 4): width, height, width, height of each image.
        limits = image_shapes.flip(1).repeat(1, 2)[:, None].to(boxes)
        boxes = boxes.clamp(min=0).minimum(limits)
    return Candidates(boxes, logits.sigmoid(), labels, locations)


class TraceableSPRNet(nn.Module):
    """An SPRNet's prediction as tensor operations only.

    It uses the detector's own backbone, neck, box head, encoder and decoder.

    Args:
        detector: an SPRNet that :func:`check_exportable` accepts.
    """

    def __init__(self, detector: SPRNet) -> None:
        super().__init__()
        self.detector = detector

    def forward(
        self, images: Tensor, image_shapes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Detect the objects of a batch, image by image and best first.

        Args:
            images: (N, 3, H, W) normalised images, padded below and right.
            image_shapes: (N, 2) int64, heights and widths without padding.

        Returns:
            image_index (P,), the image of each detection, in 0..N - 1; boxes
            (P, 4) as (x1, y1, x2, y2) in pixels of the input; scores (P,);
            labels (P,); masks (P, S, S), probabilities.
        """
        head, mask_head = self.detector.bbox_head, self.detector.mask_head
        cfg = head.test_cfg
        features = self.detector.extract_feat(images)
        outs = head(features.levels)
        all_candidates = candidates(head, *outs, image_shapes)
        boxes, scores = all_candidates.boxes, all_candidates.scores
        if cfg.get('min_bbox_size', -1) == 0:
            has_area = (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
            scores = torch.where(has_area, scores, -1)
        # As in mmcv: shifted apart, boxes of different classes do not overlap.
        shifts = all_candidates.labels[..., None] * (boxes.max() + 1)
        image_index, indices = suppress(
            boxes + shifts,
            scores,
            cfg.nms.iou_threshold,
            cfg.score_thr,
            cfg.max_per_img,
        ).unbind(1)
        boxes, scores, labels, locations = (
            field[image_index, indices] for field in all_candidates
        )
        instances = Instances(
            image_index, mask_head.frames(boxes), labels, locations
        )
        logits = mask_head(features, with_dummy(instances))[:-1]
        return image_index, boxes, scores, labels, logits.sigmoid()


def with_dummy(instances: Instances) -> Instances:
    """Add an instance of zeros; ONNX's group norm fails on an empty input."""
    return Instances(
        *(
            torch.cat([field, field.new_zeros(1, *field.shape[1:])])
            for field in instances[:4]
        )
    )
