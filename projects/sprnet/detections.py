"""The location behind each detection.

Shape letters: see :mod:`.structures`.
"""

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import select_single_mlvl
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .errors import InputError
from .pyramid import level_starts, pyramid_sizes
from .structures import moved


class WatchedPriors:
    """A level's priors, which remember those that a head selects.

    Args:
        priors: (H_l * W_l * A, 4), or (H_l * W_l, 2) for points.

    Attributes:
        chosen: (n,) indices of the selected priors; none before a selection.
    """

    def __init__(self, priors: Tensor) -> None:
        self.priors = priors
        self.chosen = torch.empty(0, dtype=torch.long, device=priors.device)

    def __getitem__(self, index: Tensor) -> Tensor:
        self.chosen = index
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
    """Return a dense head's candidates, before NMS, and their locations.

    The head itself selects them. A second selection from the same scores
    could differ where scores are equal, and a GPU would wait for it.

    Args:
        head: A dense head that :func:`can_be_watched`.
        outs: Its outputs, each a list over levels of (N, ..., H_l, W_l).
        img_metas: Meta information of the N pictures.
        cfg: Test settings.
        rescale: Return boxes at the pictures' original size.

    Returns:
        For each picture the result of ``head.predict_by_feat`` with
        ``with_nms=False``, and its additional field ``locations`` (n,).

    Raises:
        InputError: The head selects its candidates in another way.
    """
    sizes = pyramid_sizes(outs[0])
    priors = head.prior_generator.grid_priors(
        sizes, dtype=outs[0][0].dtype, device=outs[0][0].device
    )
    results, watched = [], []
    for n, meta in enumerate(img_metas):
        watched.append([WatchedPriors(level) for level in priors])
        scores, deltas, *factors = (
            select_single_mlvl(levels, n) for levels in outs
        )
        results.append(
            head._predict_by_feat_single(
                cls_score_list=scores,
                bbox_pred_list=deltas,
                score_factor_list=factors[0]
                if factors
                else [None] * len(sizes),
                mlvl_priors=watched[-1],
                img_meta=meta,
                cfg=cfg,
                rescale=rescale,
                with_nms=False,
            )
        )
    chosen = [[level.chosen for level in levels] for levels in watched]
    for levels, result in zip(chosen, results):
        if sum(map(len, levels)) != len(result):
            raise InputError(
                f'{type(head).__name__} does not select its candidates from '
                'the priors of each level, so the locations behind them are '
                'unknown; use an encoder that reads boxes, such as BoxGrid'
            )
    per_location = head.prior_generator.num_base_priors
    locations = _locations(chosen, level_starts(sizes), per_location)
    for result, part in zip(results, locations.split([*map(len, results)])):
        result.locations = part
    return results


def _locations(
    chosen: Sequence[Sequence[Tensor]],
    starts: Sequence[int],
    per_location: Sequence[int],
) -> Tensor:
    """Return the locations of selected priors, of all pictures and levels in
    their order.

    Args:
        chosen: Of each picture and level the (n,) indices of priors.
        starts: First location of each level.
        per_location: Priors of a location of each level.
    """
    indices = [index for levels in chosen for index in levels]
    # Lengths are known on the CPU, so few operations serve all.
    lengths = torch.tensor([*map(len, indices)])
    table = torch.tensor([*zip(starts, per_location)]).repeat(len(chosen), 1)
    table = table.repeat_interleave(lengths, 0).T
    start, count = moved(table, indices[0].device)
    return torch.cat(indices) // count + start


def predict_boxes_and_locations(
    head: nn.Module,
    levels: Sequence[Tensor],
    img_metas: list[dict],
    rescale: bool,
) -> list[InstanceData]:
    """Return a dense head's detections and the location behind each.

    Args:
        head: A dense head that :func:`can_be_watched`.
        levels: (N, C, H_l, W_l) of the pyramid.
        img_metas: Meta information of the N pictures.
        rescale: Return boxes at the pictures' original size.

    Returns:
        For each picture the result of ``head.predict``, bit for bit, with the
        additional field ``locations`` (P,).
    """
    # The size filter would drop candidates before their locations are known.
    unfiltered = head.test_cfg.copy()
    unfiltered.min_bbox_size = -1
    found = candidates(head, head(levels), img_metas, unfiltered, rescale)
    return [
        head._bbox_post_process(results, head.test_cfg, img_meta=meta)
        for results, meta in zip(found, img_metas)
    ]
