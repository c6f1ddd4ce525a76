"""The detections of a stock dense head, and the pixel behind each."""

import math
from collections.abc import Callable, Sequence

import torch
from mmdet.models.utils import filter_scores_and_topk
from mmengine.structures import InstanceData
from torch import Tensor, nn


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
) -> tuple[Tensor, Tensor]:
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
    img_metas: list[dict],
    rescale: bool,
) -> list[InstanceData]:
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
