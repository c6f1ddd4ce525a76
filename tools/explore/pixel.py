"""What one pixel of each pyramid level predicts, and would train."""

import math
from typing import NamedTuple

import numpy as np
import torch
from mmdet.structures.bbox import scale_boxes
from torch import Tensor, nn

from projects.sprnet import BoxGrid
from projects.sprnet.pyramid import Sizes, locate

from .view import View


class PixelPrediction(NamedTuple):
    """One pixel's prediction; boxes are in pixels of the original image."""

    level: str  # for example P3
    stride: int  # in pixels of the input
    row: int
    column: int
    cell: np.ndarray  # (4,) square around the pixel's centre, a stride wide
    anchors: np.ndarray  # (A, 4)
    label: int  # best class
    score: float
    prior: int  # index of the box head's prior with that score
    box: np.ndarray  # (4,) regressed
    mask: np.ndarray  # (S, S) probabilities for that class
    frame: np.ndarray  # (4,) that the mask fills
    points: np.ndarray  # (M, 2) where a BoxGrid reads features, else (0, 2)


class PixelTraining(NamedTuple):
    """One pixel's part in training."""

    positive: bool
    object: int | None  # that it learns or overlaps most; None: no overlap
    overlap: float  # IoU of its best anchor and the object


def nearest_pixels(
    anchors: Tensor, sizes: Sizes, x: float, y: float
) -> Tensor:
    """Pixel of each level whose anchors' common centre is nearest to a point.

    Args:
        anchors: (L, A, 4) of each pixel.
        sizes: height and width of each level.
        x, y: the point, in the anchors' coordinates.

    Returns:
        Pyramid index of one pixel per level, (levels,).
    """
    centres = ((anchors[..., :2] + anchors[..., 2:]) / 2).mean(dim=1)
    distances = (centres - centres.new_tensor([x, y])).norm(dim=1)
    start, pixels = 0, []
    for height, width in sizes:
        stop = start + height * width
        pixels.append(start + distances[start:stop].argmin())
        start = stop
    return torch.stack(pixels)


@torch.no_grad()
def predict_pixels(
    model: nn.Module, view: View, pixels: Tensor
) -> list[PixelPrediction]:
    """Predict a box and a mask from each of some pixels.

    Args:
        model: the SPRNet that predicted the view.
        view: the image.
        pixels: (P,) pyramid indices.
    """
    head = model.mask_head
    best = view.best_detections[pixels.cpu()]
    frames = head.frames(best.bboxes)
    boxes = scale_boxes(frames, view.meta['scale_factor']).to(pixels.device)
    logits = head(
        view.feats,
        torch.zeros_like(pixels),
        pixels,
        boxes,
        best.labels.to(pixels.device),
    )
    masks = logits.sigmoid().cpu().numpy()
    points = frames.new_zeros(len(pixels), 0, 2)
    if isinstance(head.encoder, BoxGrid):
        points = head.encoder.points(frames)
    levels, rows, columns = locate(pixels, view.sizes)
    scale = np.tile(view.meta['scale_factor'], 2)
    predictions = []
    for n, level in enumerate(levels.tolist()):
        stride = np.array(head.anchor_generator.strides[level])
        anchors = view.anchors[pixels[n]].cpu().numpy()
        centre = (anchors[:, :2] + anchors[:, 2:]).mean(axis=0) / 2
        cell = np.concatenate([centre - stride / 2, centre + stride / 2])
        predictions.append(
            PixelPrediction(
                level=f'P{round(math.log2(stride[0]))}',
                stride=int(stride[0]),
                row=int(rows[n]),
                column=int(columns[n]),
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


def training_at(view: View, pixels: Tensor) -> list[PixelTraining | None]:
    """Look up the part of pixels (P,) in training, None where unknown."""
    if view.training is None:
        return [None] * len(pixels)
    training = view.training[pixels.cpu()]
    return [
        PixelTraining(positive, index if overlap > 0 else None, overlap)
        for positive, index, overlap in zip(
            training.positive.tolist(),
            training.objects.tolist(),
            training.overlaps.tolist(),
        )
    ]
