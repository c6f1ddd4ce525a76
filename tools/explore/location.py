"""What one location of each pyramid level predicts, and would train."""

import math
from typing import NamedTuple

import numpy as np
import torch
from mmdet.structures.bbox import scale_boxes
from torch import Tensor, nn

from projects.sprnet import BoxGrid
from projects.sprnet.pyramid import Sizes, locate
from projects.sprnet.roi_features import points_in_boxes
from projects.sprnet.structures import Instances

from .view import View


class LocationPrediction(NamedTuple):
    """One location's prediction; boxes are in pixels of the original image."""

    level: str  # for example P3
    stride: int  # in pixels of the input
    row: int
    column: int
    cell: np.ndarray  # (4,) square around the location's centre, a stride wide
    anchors: np.ndarray  # (A, 4)
    label: int  # best class
    score: float
    prior: int  # index of the box head's prior with that score
    box: np.ndarray  # (4,) regressed
    mask: np.ndarray  # (S, S) probabilities for that class
    frame: np.ndarray  # (4,) that the mask fills
    points: np.ndarray  # (M, 2) where a BoxGrid reads features, else (0, 2)


class LocationTraining(NamedTuple):
    """One location's part in training."""

    positive: bool
    object: int | None  # that it learns or overlaps most; None: no overlap
    overlap: float  # IoU of its best anchor and the object


def nearest_locations(
    anchors: Tensor, sizes: Sizes, x: float, y: float
) -> Tensor:
    """Location of each level whose anchors' centre is nearest to a point.

    Args:
        anchors: (L, A, 4) of each location.
        sizes: height and width of each level.
        x, y: the point, in the anchors' coordinates.

    Returns:
        Index of one location per level, (levels,).
    """
    centres = ((anchors[..., :2] + anchors[..., 2:]) / 2).mean(dim=1)
    distances = (centres - centres.new_tensor([x, y])).norm(dim=1)
    start, locations = 0, []
    for height, width in sizes:
        stop = start + height * width
        locations.append(start + distances[start:stop].argmin())
        start = stop
    return torch.stack(locations)


@torch.no_grad()
def predict_locations(
    model: nn.Module, view: View, locations: Tensor
) -> list[LocationPrediction]:
    """Predict a box and a mask from each of some locations.

    Args:
        model: the SPRNet that predicted the view.
        view: the image.
        locations: (P,).
    """
    head, device = model.mask_head, locations.device
    best = view.best_detections[locations.cpu()]
    frames = head.frames(best.bboxes)
    boxes = scale_boxes(frames, view.meta['scale_factor'])
    instances = Instances(
        torch.zeros_like(locations),
        boxes.to(device),
        best.labels.to(device),
        locations,
    )
    masks = head(view.features, instances).sigmoid().cpu().numpy()
    points = frames.new_zeros(len(locations), 0, 2)
    if isinstance(head.encoder, BoxGrid):
        points = points_in_boxes(frames, head.encoder.centres.cpu())
    strides = model.bbox_head.prior_generator.strides
    levels, places, _ = locate(locations, view.sizes)
    scale = np.tile(view.meta['scale_factor'], 2)
    predictions = []
    for n, level in enumerate(levels.tolist()):
        stride = np.array(strides[level])
        anchors = view.anchors[locations[n]].cpu().numpy()
        centre = (anchors[:, :2] + anchors[:, 2:]).mean(axis=0) / 2
        cell = np.concatenate([centre - stride / 2, centre + stride / 2])
        predictions.append(
            LocationPrediction(
                level=f'P{round(math.log2(stride[0]))}',
                stride=int(stride[0]),
                row=int(places[n, 0]),
                column=int(places[n, 1]),
                cell=cell / scale,
                anchors=anchors / scale,
                label=int(best.labels[n]),
                score=float(best.scores[n]),
                prior=int(best.priors[n]),
                box=best.bboxes[n].numpy(),
                mask=masks[n],
                frame=frames[n].numpy(),
                points=points[n].numpy(),
            )
        )
    return predictions


def training_at(
    view: View, locations: Tensor
) -> list[LocationTraining | None]:
    """Look up the part of locations (P,) in training, None where unknown."""
    if view.training is None:
        return [None] * len(locations)
    training = view.training[locations.cpu()]
    return [
        LocationTraining(positive, index if overlap > 0 else None, overlap)
        for positive, index, overlap in zip(
            training.positive.tolist(),
            training.objects.tolist(),
            training.overlaps.tolist(),
        )
    ]
