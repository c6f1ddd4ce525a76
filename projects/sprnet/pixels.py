"""Which pixels reconstruct a mask: in training, and for given detections."""

import math
from typing import Callable, List, Sequence, Tuple

import torch
from mmdet.models.utils import filter_scores_and_topk
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor, nn

BOXES_AT_ONCE = 16  # bounds the memory of the overlaps, whatever the image


def _overlaps(ones: Tensor, others: Tensor) -> Tensor:
    """IoU (M, G) of boxes (M, 4) and (G, 4), 0 for those of no area and of
    what is no number, single precision at least."""
    # Areas exceed half precision, and what is no number is the most of all.
    dtype = torch.promote_types(ones.dtype, torch.float32)
    return bbox_overlaps(ones.to(dtype), others.to(dtype)).nan_to_num_(0)


def best_boxes(anchors: Tensor, boxes: Tensor) -> Tuple[Tensor, Tensor]:
    """The box that every anchor overlaps most.

    Args:
        anchors: (M, 4) as (x1, y1, x2, y2), in pixels.
        boxes: (G, 4) likewise.

    Returns:
        IoU (M,), 0 where there is no box, and index of the box (M,); of equal
        ones the first.
    """
    overlap = anchors.new_zeros(len(anchors))
    index = anchors.new_zeros(len(anchors), dtype=torch.long)
    for first, part in zip(
        range(0, len(boxes), BOXES_AT_ONCE), boxes.split(BOXES_AT_ONCE)
    ):
        part_overlap, part_index = _overlaps(anchors, part).max(dim=1)
        better = part_overlap > overlap
        overlap = torch.where(better, part_overlap, overlap)
        index = torch.where(better, part_index + first, index)
    return overlap, index


def positive_pixels(
    anchors: Tensor, boxes: Tensor, threshold: float
) -> Tuple[Tensor, Tensor]:
    """Pixels that train a mask, and the instance of each (3.2 and 3.3).

    A pixel is positive if any of its anchors overlaps a box by more than
    ``threshold``; its instance is the one that its best anchor overlaps most.

    Args:
        anchors: (L, A, 4) the A anchors of each of an image's L pixels, as
            (x1, y1, x2, y2).
        boxes: (G, 4) ground truth, without crowds.
        threshold: IoU, in 0..1.

    Returns:
        pixels (P,), ascending, and instances (P,), indices into ``boxes``.
    """
    overlap, instance = best_boxes(anchors.flatten(0, 1), boxes)
    overlap, anchor = overlap.view(anchors.shape[:2]).max(dim=1)
    instance = instance.view(anchors.shape[:2]).gather(1, anchor[:, None])[
        :, 0
    ]
    pixels = (overlap > threshold).nonzero()[:, 0]
    return pixels, instance[pixels]


def best_pixels(anchors: Tensor, boxes: Tensor) -> Tuple[Tensor, Tensor]:
    """The pixel whose anchor overlaps each box most.

    Args:
        anchors: (L, A, 4). boxes: (G, 4).

    Returns:
        pixels (G,), of equal ones the first, and the IoU of each's anchor.
    """
    flat = anchors.flatten(0, 1)
    best = [
        _overlaps(part, flat).max(dim=1) for part in boxes.split(BOXES_AT_ONCE)
    ]
    overlaps = torch.cat([one.values for one in best])
    best = torch.cat([one.indices for one in best])
    return best // anchors.shape[1], overlaps


def least_logit(probability: float, dtype: torch.dtype) -> float:
    """A logit that everything whose sigmoid exceeds ``probability``, as it is
    rounded, exceeds; itself a little low."""
    eps = 4 * torch.finfo(dtype).eps
    low = probability * (1 - eps)
    if low <= 0:
        return -math.inf
    logit = math.log(low) - math.log1p(-low) if low < 1 else math.inf
    return logit - eps * (abs(logit) + 1)


def _likely(logits: Tensor, head: nn.Module, threshold: float) -> Tensor:
    """(H, W) bool, false only where no sigmoid exceeds the threshold."""
    # Not >, which is false of what is no number, as a maximum may be.
    return ~(logits.amax(dim=0) <= least_logit(threshold, logits.dtype))


def _all(logits: Tensor, head: nn.Module, threshold: float) -> Tensor:
    """(H, W) of True."""
    return torch.ones_like(logits[0], dtype=torch.bool)


def _candidates(
    cls_scores: Sequence[Tensor], head: nn.Module, cfg: dict, where: Callable
) -> Tuple[Tensor, Tensor]:
    """Pixels and scores of the head's candidates, in its order, both (M,);
    only pixels in ``where(logits, head, threshold)`` are looked at."""
    threshold = cfg.get('score_thr', 0)
    start, pixels, candidates = 0, [], []
    for level, logits in enumerate(cls_scores):
        places = where(logits, head, threshold)
        scores = logits.permute(1, 2, 0)[places]
        scores = scores.reshape(-1, head.cls_out_channels)
        if getattr(head.loss_cls, 'custom_cls_channels', False):
            scores = head.loss_cls.get_activation(scores)
        elif head.use_sigmoid_cls:
            scores = scores.sigmoid()
        else:
            scores = scores.softmax(-1)[:, :-1]
        scores, _, priors, _ = filter_scores_and_topk(
            scores, threshold, cfg.get('nms_pre', -1)
        )
        per_pixel = head.prior_generator.num_base_priors[level]
        level_pixels = places.flatten().nonzero()[:, 0]
        pixels.append(start + level_pixels[priors // per_pixel])
        candidates.append(scores)
        start += places.numel()
    return torch.cat(pixels), torch.cat(candidates)


def candidate_pixels(
    cls_scores: Sequence[Tensor],
    head: nn.Module,
    cfg: dict,
    candidates: Tensor,
) -> Tensor:
    """Pixels of the candidates that a dense head decodes for one image.

    The head tells its candidates' boxes, scores and labels but not where they
    come from. The same selection on the same scores tells that.

    Args:
        cls_scores: (A * K, H_l, W_l) of every level.
        head: the stock head.
        cfg: its test settings.
        candidates: (M,) their scores, as the head gives them.

    Returns:
        pixels (M,) of the pyramid, in the order of the head's candidates.
    """
    if head.use_sigmoid_cls:
        pixels, scores = _candidates(cls_scores, head, cfg, _likely)
        # A sigmoid's last bit depends on its place in memory. Were it another
        # here, candidates could change places.
        if torch.equal(scores, candidates):
            return pixels
    return _candidates(cls_scores, head, cfg, _all)[0]


def predict_boxes_and_pixels(
    head: nn.Module,
    feats: Sequence[Tensor],
    img_metas: List[dict],
    rescale: bool,
) -> List[InstanceData]:
    """A stock dense head's detections, and the pixel behind each.

    Args:
        head: any of MMDetection's dense heads with the base class's
            ``predict_by_feat``.
        feats: pyramid, (N, C, H_l, W_l); what follows the head's levels is
            not looked at.
        img_metas: the N images' meta information.
        rescale: boxes at the images' original size.

    Returns:
        For every image what ``head.predict`` gives, bit for bit, with one more
        field: ``pixels`` (n,).
    """
    # Half precision is too coarse for boxes, and on CPUs mmcv's NMS lacks it.
    outs = head(feats[: head.prior_generator.num_levels])
    outs = [[out.float() for out in levels] for levels in outs]
    # The size filter would drop candidates before they are given their pixels.
    # It works at the size of the results, so it comes with NMS, below.
    unfiltered = head.test_cfg.copy()
    unfiltered.min_bbox_size = -1
    candidates = head.predict_by_feat(
        *outs, batch_img_metas=img_metas, cfg=unfiltered, with_nms=False
    )
    detections = []
    for n, (results, meta) in enumerate(zip(candidates, img_metas)):
        results.pixels = candidate_pixels(
            [s[n].detach() for s in outs[0]],
            head,
            head.test_cfg,
            results.scores,
        )
        detections.append(
            head._bbox_post_process(
                results, head.test_cfg, rescale=rescale, img_meta=meta
            )
        )
    return detections
