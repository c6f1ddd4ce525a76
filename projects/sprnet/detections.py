"""Pixels behind detections. Shape letters: see :mod:`.pyramid`."""

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import select_single_mlvl
from mmengine.structures import InstanceData
from mmengine.utils import apply_to
from torch import Tensor, nn

from .runtime.errors import InputError


class WatchedPriors:
    """A level's priors, which record the pixels of those that a head selects.

    Args:
        priors: (H_l * W_l * A, 4), or (H_l * W_l, 2) for points.
        first: First pixel of the level.
        per_pixel: Priors of a pixel, A.

    Attributes:
        pixels: (n,) of the selected priors; before a selection None.
    """

    def __init__(self, priors: Tensor, first: int, per_pixel: int) -> None:
        self.priors = priors
        self.first = first
        self.per_pixel = per_pixel
        self.pixels: Tensor | None = None

    def __getitem__(self, index: Tensor) -> Tensor:
        self.pixels = self.first + index // self.per_pixel
        return self.priors[index]


def can_be_watched(head: nn.Module) -> bool:
    """Whether a dense head selects its candidates level by level, as
    MMDetection's base class does, so that :func:`candidates` can follow."""
    return type(head).predict_by_feat is BaseDenseHead.predict_by_feat


def candidates(
    head: nn.Module,
    outs: Sequence[Sequence[Tensor]],
    img_metas: Sequence[dict],
    cfg: dict,
    rescale: bool,
) -> list[InstanceData]:
    """Return a dense head's candidates, before NMS, and their pixels.

    The head itself selects them. A second selection from the same scores
    could differ where scores are equal, and a GPU would wait for it.

    Args:
        head: A dense head that :func:`can_be_watched`.
        outs: Its outputs, each a list over levels of (N, ..., H_l, W_l).
        img_metas: Meta information of the N images.
        cfg: Test settings.
        rescale: Return boxes at the images' original size.

    Returns:
        For each image the result of ``head.predict_by_feat`` with
        ``with_nms=False``, and its additional field ``pixels`` (n,).
    """
    sizes = [scores.shape[-2:] for scores in outs[0]]
    priors = head.prior_generator.grid_priors(
        sizes, dtype=outs[0][0].dtype, device=outs[0][0].device
    )
    results = []
    for n, meta in enumerate(img_metas):
        watched, first = [], 0
        for level, (height, width) in enumerate(sizes):
            per_pixel = head.prior_generator.num_base_priors[level]
            watched.append(WatchedPriors(priors[level], first, per_pixel))
            first += height * width
        scores, deltas, *factors = (
            select_single_mlvl(levels, n) for levels in outs
        )
        per_image = head._predict_by_feat_single(
            cls_score_list=scores,
            bbox_pred_list=deltas,
            score_factor_list=factors[0] if factors else [None] * len(sizes),
            mlvl_priors=watched,
            img_meta=meta,
            cfg=cfg,
            rescale=rescale,
            with_nms=False,
        )
        pixels = [p.pixels for p in watched if p.pixels is not None]
        if sum(map(len, pixels)) != len(per_image):
            raise InputError(
                f'{type(head).__name__} does not select its candidates from '
                'the priors of each level, so the pixels behind them are '
                'unknown; use an encoder that reads boxes, such as BoxGrid'
            )
        per_image.pixels = torch.cat(pixels)
        results.append(per_image)
    return results


def _outputs(head: nn.Module, feats: Sequence[Tensor]) -> Sequence:
    """A head's outputs in single precision."""
    # Boxes need float32, and mmcv's NMS has no half precision on a CPU.
    return apply_to(head(feats), lambda x: isinstance(x, Tensor), Tensor.float)


def predict_boxes(
    head: nn.Module,
    feats: Sequence[Tensor],
    img_metas: list[dict],
    rescale: bool,
) -> list[InstanceData]:
    """Return any dense head's detections.

    Args:
        head: A dense head of MMDetection.
        feats: (N, C, H_l, W_l) of each level.
        img_metas: Meta information of the N images.
        rescale: Return boxes at the images' original size.

    Returns:
        For each image the result of ``head.predict``, bit for bit.
    """
    return head.predict_by_feat(
        *_outputs(head, feats), batch_img_metas=img_metas, rescale=rescale
    )


def predict_boxes_and_pixels(
    head: nn.Module,
    feats: Sequence[Tensor],
    img_metas: list[dict],
    rescale: bool,
) -> list[InstanceData]:
    """Return a dense head's detections and the pixel behind each.

    Args:
        head: A dense head that :func:`can_be_watched`.
        feats, img_metas, rescale: As for :func:`predict_boxes`.

    Returns:
        The results of :func:`predict_boxes` with the additional field
        ``pixels`` (P,).
    """
    # The size filter would drop candidates before their pixels are known.
    unfiltered = head.test_cfg.copy()
    unfiltered.min_bbox_size = -1
    return [
        head._bbox_post_process(results, head.test_cfg, img_meta=meta)
        for results, meta in zip(
            candidates(
                head, _outputs(head, feats), img_metas, unfiltered, rescale
            ),
            img_metas,
        )
    ]
