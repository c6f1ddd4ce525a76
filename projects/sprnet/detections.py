"""Pixels behind detections. Shape letters: see :mod:`.pyramid`."""

import math
from collections.abc import Sequence

import torch
from mmdet.models.utils import filter_scores_and_topk
from mmengine.structures import InstanceData
from torch import Tensor, nn


def least_logit(probability: float, dtype: torch.dtype) -> float:
    """Return a safe lower bound: every logit of type ``dtype`` whose rounded
    sigmoid exceeds ``probability`` lies above it."""
    eps = 4 * torch.finfo(dtype).eps
    low = probability * (1 - eps)
    if low <= 0:
        return -math.inf
    logit = math.log(low) - math.log1p(-low) if low < 1 else math.inf
    return logit - eps * (abs(logit) + 1)


def likely_pixels(logits: Tensor, threshold: float) -> Tensor:
    """Return the pixels of a level's logits (A * K, H_l, W_l) that may exceed
    a threshold of scores, (H_l, W_l) bool."""
    # The comparison is negated, so that a maximum of NaN counts as likely.
    return ~(logits.amax(dim=0) <= least_logit(threshold, logits.dtype))


def _select_candidates(
    cls_scores: Sequence[Tensor], head: nn.Module, cfg: dict, prune: bool
) -> tuple[Tensor, Tensor]:
    """Pixels and scores of the head's candidates in its order, both (n,);
    ``prune`` restricts the search to :func:`likely_pixels`."""
    threshold = cfg.get('score_thr', 0)
    start, pixels, candidates = 0, [], []
    for level, logits in enumerate(cls_scores):
        if prune:
            mask = likely_pixels(logits, threshold)
        else:
            mask = torch.ones_like(logits[0], dtype=torch.bool)
        scores = logits.permute(1, 2, 0)[mask]
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
        level_pixels = mask.flatten().nonzero()[:, 0]
        pixels.append(start + level_pixels[priors // per_pixel])
        candidates.append(scores)
        start += mask.numel()
    return torch.cat(pixels), torch.cat(candidates)


def candidate_pixels(
    cls_scores: Sequence[Tensor],
    head: nn.Module,
    cfg: dict,
    candidates: Tensor,
) -> Tensor:
    """Find the pixels of the candidates that a dense head decodes.

    The head returns boxes, scores and labels of its candidates, but not their
    pixels. The same selection from the same scores recovers them.

    Args:
        cls_scores: (A * K, H_l, W_l) of each level, of one image.
        head: The stock head.
        cfg: Its test settings.
        candidates: (n,) scores of the candidates, as the head returns them.

    Returns:
        (n,) pixels of the pyramid, in the order of the candidates.
    """
    if head.use_sigmoid_cls:
        pixels, scores = _select_candidates(cls_scores, head, cfg, True)
        # The last bit of a sigmoid depends on its position in memory. If the
        # scores differ, so may the order of the candidates.
        if torch.equal(scores, candidates):
            return pixels
    return _select_candidates(cls_scores, head, cfg, False)[0]


def predict_boxes_and_pixels(
    head: nn.Module,
    feats: Sequence[Tensor],
    img_metas: list[dict],
    rescale: bool,
) -> list[InstanceData]:
    """Return a stock dense head's detections and the pixel behind each.

    Args:
        head: A dense head of MMDetection that inherits the base class's
            ``predict_by_feat``.
        feats: (N, C, H_l, W_l) of each level. Maps beyond the head's levels
            are ignored.
        img_metas: Meta information of the N images.
        rescale: Return boxes at the images' original size.

    Returns:
        For each image the result of ``head.predict``, bit for bit, with the
        additional field ``pixels`` (P,).
    """
    # Boxes need float32, and mmcv's NMS has no half precision on a CPU.
    outs = head(feats[: head.prior_generator.num_levels])
    outs = [[out.float() for out in levels] for levels in outs]
    # The size filter would drop candidates before their pixels are known. It
    # applies at the size of the results, so _bbox_post_process applies it.
    unfiltered = head.test_cfg.copy()
    unfiltered.min_bbox_size = -1
    candidates = head.predict_by_feat(
        *outs, batch_img_metas=img_metas, cfg=unfiltered, with_nms=False
    )
    detections = []
    for n, (results, meta) in enumerate(zip(candidates, img_metas)):
        results.pixels = candidate_pixels(
            [scores[n].detach() for scores in outs[0]],
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
