"""What is kept of an image: enough that nothing needs another forward pass."""

from typing import NamedTuple

import mmcv
import numpy as np
import torch
from common.gates import Merge, merges_of, recorded
from common.images import ground_truth
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor, nn

from projects.sprnet import OverlapPixelSampler, SPRHead
from projects.sprnet.detections import (
    candidate_pixels,
    predict_boxes_and_pixels,
)
from projects.sprnet.pixels import assign_pixels
from projects.sprnet.pyramid import Sizes, pyramid_sizes

SIDES = 800, 1280  # least and most of a shown image's long side, in pixels
LEAST = -80.0  # a logit whose sigmoid is still above 0


class View(NamedTuple):
    """One image, and what the model makes of it.

    Boxes are in pixels of the original image, but for the anchors, which are
    in those of the input.
    """

    image: np.ndarray  # (H, W, 3) uint8 RGB, as shown
    scale: float  # of the shown image to the original one
    meta: dict  # the input's meta information
    feats: list[Tensor]  # that the mask head reads, (1, C, H_l, W_l)
    sizes: Sizes  # of the pyramid's levels
    anchors: Tensor  # (L, A, 4) of the mask head, of each pixel
    pixels: InstanceData  # (L,) see :func:`best_of_pixels`
    found: InstanceData  # detections, with ``maps`` (n, S, S) in 0..1 that
    # fill ``frames`` (n, 4)
    merges: list[Merge]  # the gates' scores, none without gates
    truth: InstanceData | None = None  # annotated ``bboxes``, ``labels``
    # (L,) see :func:`training_of`; None too if it is boxes that train
    training: InstanceData | None = None


def check(model: nn.Module) -> None:
    """Refuse a detector that there is nothing to show of.

    Raises:
        ValueError: It reconstructs no masks from pixels, or its class scores
            are no sigmoids.
    """
    if not isinstance(getattr(model, 'mask_head', None), SPRHead):
        raise ValueError(
            f'{type(model).__name__} has no mask head of type SPRHead, so its '
            'pixels hold no masks'
        )
    head = model.bbox_head
    if not getattr(head, 'use_sigmoid_cls', True) or getattr(
        head.loss_cls, 'custom_cls_channels', False
    ):
        raise ValueError(
            f'the class scores of {type(head).__name__} are no sigmoids; only '
            'those can be shown pixel by pixel'
        )


def scores_anchors(model: nn.Module) -> bool:
    """Whether the box head scores the anchors of the mask head."""
    generators = (
        model.bbox_head.prior_generator,
        model.mask_head.anchor_generator,
    )
    ones, others = (getattr(g, 'base_anchors', []) for g in generators)
    return len(ones) == len(others) and all(map(torch.equal, ones, others))


def shown(image: np.ndarray) -> tuple[np.ndarray, float]:
    """An image at a size to look at, and its scale to the given one."""
    side = max(image.shape[:2])
    scale = np.clip(side, *SIDES) / side
    return mmcv.imrescale(image, scale), scale


@torch.no_grad()
def look(model: nn.Module, gates: list, item: dict, image: np.ndarray) -> View:
    """Predict on an image, once.

    Args:
        model: an SPRNet.
        gates: its neck's, see :func:`gate_maps.find_gates`.
        item: what the test pipeline makes of the image.
        image: (H, W, 3) uint8 RGB, the original.
    """
    data = model.data_preprocessor(pseudo_collate([item]), False)
    (sample,) = data['data_samples']
    meta, head = sample.metainfo, model.bbox_head
    with recorded(gates) as scores:
        feats = model.extract_feat(data['inputs'])
    outs: list = []
    handle = head.register_forward_hook(lambda _, __, out: outs.extend(out))
    try:
        (found,) = predict_boxes_and_pixels(head, feats, [meta], rescale=True)
    finally:
        handle.remove()
    mask_head = model.mask_head
    (found.maps,) = mask_head.predict_maps(feats, [sample], [found], True)
    found.frames = mask_head.frames(found.bboxes)
    return View(
        *shown(image),
        meta,
        list(feats),
        pyramid_sizes(model.levels(feats)),
        mask_head.anchors(feats, meta),
        best_of_pixels(head, outs, meta),
        found.cpu(),
        merges_of(scores, meta),
    )


def best_of_pixels(head: nn.Module, outs: list, meta: dict) -> InstanceData:
    """What a dense head says at each pixel of one image's pyramid.

    Args:
        head: the stock head, of sigmoid class scores.
        outs: its outputs: (1, A * K, H_l, W_l) of every level, then others.
        meta: the image's meta information.

    Returns:
        Of each of the L pixels the best class and its box: ``labels``,
        ``scores``, ``bboxes`` (L, 4), and ``priors``, the one of its A priors
        that they come from.
    """
    # The head decodes as in testing, of each pixel nothing but the best.
    alone, priors = [], []
    for logits in outs[0]:
        best, channel = logits.float().max(dim=1, keepdim=True)
        only = torch.full_like(logits, -torch.inf, dtype=torch.float32)
        alone.append(only.scatter_(1, channel, best.clamp(min=LEAST)))
        priors.append((channel // head.cls_out_channels).flatten())
    priors = torch.cat(priors)
    everything = ConfigDict(score_thr=0, nms_pre=len(priors))
    (best,) = head.predict_by_feat(
        alone,
        *([out.float() for out in levels] for levels in outs[1:]),
        batch_img_metas=[meta],
        cfg=everything,
        rescale=True,
        with_nms=False,
    )
    order = candidate_pixels(
        [logits[0] for logits in alone], head, everything, best.scores
    )
    best = best[order.argsort()]
    best.priors = priors
    return best.cpu()


def with_truth(view: View, info: dict, sampler: object) -> View:
    """A view of an annotated image.

    Args:
        view: of the image.
        info: the data set's on the image.
        sampler: the mask head's.
    """
    truth = ground_truth(info, view.meta['ori_shape'])
    if not isinstance(sampler, OverlapPixelSampler):
        return view._replace(truth=truth)
    boxes = HorizontalBoxes(truth.bboxes)
    boxes.rescale_(view.meta['scale_factor'])
    boxes.clip_(view.meta['img_shape'])
    return view._replace(
        truth=truth,
        training=training_of(sampler, view.anchors.cpu(), boxes.tensor),
    )


def training_of(
    sampler: object, anchors: Tensor, boxes: Tensor
) -> InstanceData:
    """What training would make of each of an image's pixels.

    Args:
        sampler: the mask head's.
        anchors: (L, A, 4).
        boxes: (G, 4) ground truth, without crowds, as (x1, y1, x2, y2).

    Returns:
        ``positive`` (L,) bool; ``objects`` (L,), the object that a positive
        pixel learns, of others the one that its anchors overlap most; and
        ``overlaps`` (L,), that anchor's IoU.
    """
    pixels, objects = sampler.positives(anchors, boxes)
    overlaps, _, nearest = assign_pixels(anchors, boxes)
    nearest[pixels] = objects
    positive = torch.zeros(len(anchors), dtype=torch.bool)
    positive[pixels] = True
    return InstanceData(positive=positive, objects=nearest, overlaps=overlaps)
