"""All predictions for one image, so that the page needs no other forward pass.

Shapes: L locations of the pyramid, A anchors of a location, K classes, S cells
along a side of a mask, G annotated objects, n detections.
"""

from typing import NamedTuple

from common.configs import find_spr_head
from common.gates import Merge, merges_of, recorded
from common.images import ground_truth

import mmcv
import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch import Tensor, nn

from projects.sprnet import OverlapLocationSampler
from projects.sprnet.detections import (
    can_be_watched,
    candidates,
    predict_boxes_and_locations,
)
from projects.sprnet.errors import InputError
from projects.sprnet.locations import assign_locations
from projects.sprnet.pyramid import Sizes, pyramid_sizes
from projects.sprnet.structures import Features

DISPLAY_SIDES = 800, 1280  # limits of a displayed image's long side, in pixels
MIN_LOGIT = -80.0  # its sigmoid is still above 0 in float32


class View(NamedTuple):
    """One image and the model's predictions for it.

    Boxes are in pixels of the original image; anchors are in pixels of the
    network's input.
    """

    image: np.ndarray  # (H, W, 3) uint8 RGB, resized for display
    scale: float  # size of the displayed image / size of the original
    meta: dict  # meta information of the input
    features: Features  # that the heads read
    sizes: Sizes  # height and width of each pyramid level
    anchors: Tensor  # (L, A, 4) from shown_anchors
    best_detections: InstanceData  # (L,) from best_detection_per_location
    # With ``maps`` (n, S, S) in 0..1, which fill ``frames`` (n, 4)
    detections: InstanceData
    merges: list[Merge]  # the gates' scores, empty without gates
    truth: InstanceData | None = None  # annotated ``bboxes`` and ``labels``
    # (L,) from assign_training; None without annotations and for samplers
    # that choose boxes instead of locations
    training: InstanceData | None = None


def check_supported(model: nn.Module) -> None:
    """Check that a detector has predictions per location that can be shown.

    Raises:
        InputError: It has no ``SPRHead``, or its class scores are not sigmoids
            of its logits.
    """
    find_spr_head(model)
    head = model.bbox_head
    if not can_be_watched(head):
        raise InputError(
            f'{type(head).__name__} selects its detections in its own way, so '
            'the locations behind them cannot be shown; use a head that '
            "inherits predict_by_feat from MMDetection's BaseDenseHead"
        )
    if not getattr(head, 'use_sigmoid_cls', True) or getattr(
        head.loss_cls, 'custom_cls_channels', False
    ):
        raise InputError(
            f'the class scores of {type(head).__name__} with '
            f'loss_cls.type={type(head.loss_cls).__name__} are not sigmoids; '
            'only sigmoids can be shown location by location'
        )


def base_anchors(part: object) -> list[list]:
    """A part's anchors around the first location of each level; none if it
    has points."""
    return [level.tolist() for level in getattr(part, 'base_anchors', [])]


def scores_shown_anchors(model: nn.Module) -> bool:
    """Whether the box head scores the anchors of :func:`shown_anchors`."""
    scored = base_anchors(model.bbox_head.prior_generator)
    if model.mask_head.sampler.chooses_locations:
        return scored == base_anchors(model.mask_head.prior_generator)
    return bool(scored)


def shown_anchors(model: nn.Module, features: Features, meta: dict) -> Tensor:
    """The anchors of each location, (L, A, 4).

    They are those that choose the locations that train masks, if there are
    such; otherwise those that the box head scores, or squares of a stride
    around the points that it scores.
    """
    if model.mask_head.sampler.chooses_locations:
        return model.mask_head.anchors(features, [meta])[0]
    generator = model.bbox_head.prior_generator
    sizes = pyramid_sizes(features.levels)
    device = features.levels[0].device
    if base_anchors(generator):
        levels = generator.grid_priors(sizes, device=device)
        counts = generator.num_base_priors
        return torch.cat([x.view(-1, n, 4) for x, n in zip(levels, counts)])
    levels = generator.grid_priors(sizes, device=device, with_stride=True)
    points, strides = torch.cat(levels)[:, None].split(2, dim=2)
    return torch.cat([points - strides / 2, points + strides / 2], dim=2)


def resize_for_display(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Resize an image to DISPLAY_SIDES; return it and the scale factor."""
    side = max(image.shape[:2])
    scale = np.clip(side, *DISPLAY_SIDES) / side
    return mmcv.imrescale(image, scale), scale


@torch.no_grad()
def predict_view(
    model: nn.Module, gates: list, item: dict, image: np.ndarray
) -> View:
    """Run the model once on one image.

    Args:
        model: an SPRNet.
        gates: its gates, from :func:`common.gates.find_gates`.
        item: the image from the test pipeline.
        image: (H, W, 3) uint8 RGB, the original.
    """
    data = model.data_preprocessor(pseudo_collate([item]), False)
    (sample,) = data['data_samples']
    meta, head = sample.metainfo, model.bbox_head
    with recorded(gates) as scores:
        features = model.extract_feat(data['inputs'])
    outs: list = []
    handle = head.register_forward_hook(lambda _, __, out: outs.extend(out))
    try:
        (detections,) = predict_boxes_and_locations(
            head, features.levels, [meta], rescale=True
        )
    finally:
        handle.remove()
    mask_head = model.mask_head
    detections.maps = mask_head.probabilities(
        features, [sample], [detections], rescale=True
    )
    detections.frames = mask_head.frames(detections.bboxes)
    return View(
        *resize_for_display(image),
        meta,
        features,
        pyramid_sizes(features.levels),
        shown_anchors(model, features, meta),
        best_detection_per_location(head, outs, meta),
        detections.cpu(),
        merges_of(scores, meta),
    )


def best_detection_per_location(
    head: nn.Module, outs: list, meta: dict
) -> InstanceData:
    """Best class of each location of one image's pyramid, and its box.

    Args:
        head: the dense head, whose class scores are sigmoids.
        outs: its outputs, a list over levels each: first the class logits
            (1, A * K, H_l, W_l), then the others.
        meta: the image's meta information.

    Returns:
        ``labels``, ``scores``, ``bboxes`` (L, 4), and ``priors``, the index of
        the location's prior that they come from, in 0..A - 1.
    """
    # The head's own decoding does the work: with a single finite logit, each
    # location has a single candidate.
    best_logits, priors = [], []
    for logits in outs[0]:
        best, channel = logits.float().max(dim=1, keepdim=True)
        lowest = torch.full_like(logits, -torch.inf, dtype=torch.float32)
        best_logits.append(
            lowest.scatter_(1, channel, best.clamp(min=MIN_LOGIT))
        )
        priors.append((channel // head.cls_out_channels).flatten())
    priors = torch.cat(priors)
    keep_all = ConfigDict(score_thr=0, nms_pre=len(priors))
    others = [[out.float() for out in levels] for levels in outs[1:]]
    (detections,) = candidates(
        head, [best_logits, *others], [meta], keep_all, rescale=True
    )
    detections = detections[detections.locations.argsort()]
    detections.priors = priors
    return detections.cpu()


def add_truth(view: View, info: dict, sampler: object) -> View:
    """Add the annotations of a data set's image to its view.

    Args:
        view: the image's view.
        info: the image's entry in the data set.
        sampler: the mask head's sampler.
    """
    truth = ground_truth(info, view.meta['ori_shape'])
    if not isinstance(sampler, OverlapLocationSampler):
        return view._replace(truth=truth)
    boxes = HorizontalBoxes(truth.bboxes)
    boxes.rescale_(view.meta['scale_factor'])
    boxes.clip_(view.meta['img_shape'])
    return view._replace(
        truth=truth,
        training=assign_training(sampler, view.anchors.cpu(), boxes.tensor),
    )


def assign_training(
    sampler: object, anchors: Tensor, boxes: Tensor
) -> InstanceData:
    """Decide for each location of an image what it would train.

    Args:
        sampler: the mask head's sampler.
        anchors: (L, A, 4) as (x1, y1, x2, y2).
        boxes: (G, 4) ground truth without crowds, likewise.

    Returns:
        ``positive`` (L,) bool; ``objects`` (L,), the object that a positive
        location learns, or that a negative one's anchors overlap most; and
        ``overlaps`` (L,), the largest IoU of an anchor and an object.
    """
    assigned = assign_locations(anchors, boxes)
    locations, objects = sampler.positives(assigned)
    nearest = assigned.objects.index_put((locations,), objects)
    positive = torch.zeros(len(anchors), dtype=torch.bool)
    positive[locations] = True
    return InstanceData(
        positive=positive, objects=nearest, overlaps=assigned.overlaps
    )
