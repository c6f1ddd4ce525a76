"""What one pixel of each pyramid level holds."""

import math
from typing import NamedTuple

import numpy as np
import torch
from mmdet.structures.bbox import scale_boxes
from torch import Tensor, nn

from projects.sprnet import BoxGrid
from projects.sprnet.pyramid import Sizes, locate

from .view import View


class Held(NamedTuple):
    """What a pixel holds; boxes are in pixels of the original image."""

    level: str  # such as P3
    stride: int  # of the input
    row: int
    column: int
    cell: np.ndarray  # (4,) as large as its stride, around its centre
    anchors: np.ndarray  # (A, 4)
    label: int  # its best class
    score: float
    prior: int  # that the box head scored so
    box: np.ndarray  # (4,) regressed
    mask: np.ndarray  # (S, S) in 0..1, of that class
    frame: np.ndarray  # (4,) that the mask fills
    points: np.ndarray  # (M, 2) that a BoxGrid reads in the frame, or (0, 2)


class Training(NamedTuple):
    """What training would make of a pixel."""

    positive: bool
    object: int | None  # it learns, or overlaps most; None: overlaps none
    overlap: float  # IoU


def pixels_under(anchors: Tensor, sizes: Sizes, x: float, y: float) -> Tensor:
    """Of every level the pixel whose anchors' centre is nearest to a point.

    Args:
        anchors: (L, A, 4) of each pixel.
        sizes: the levels' heights and widths.
        x, y: the point, in the anchors' coordinates.

    Returns:
        pixels (levels,) of the pyramid.
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
def pixels_hold(model: nn.Module, view: View, pixels: Tensor) -> list[Held]:
    """What pixels of an image's pyramid hold.

    Args:
        model: the SPRNet that the view is of.
        view: the image.
        pixels: (P,).
    """
    head = model.mask_head
    best = view.pixels[pixels.cpu()]
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
    held = []
    for n, level in enumerate(levels.tolist()):
        stride = np.array(head.anchor_generator.strides[level])
        anchors = view.anchors[pixels[n]].cpu().numpy()
        middle = (anchors[:, :2] + anchors[:, 2:]).mean(axis=0) / 2
        cell = np.concatenate([middle - stride / 2, middle + stride / 2])
        held.append(
            Held(
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
    return held


def pixels_train(view: View, pixels: Tensor) -> list[Training | None]:
    """What training would make of pixels, None without ground truth."""
    if view.training is None:
        return [None] * len(pixels)
    chosen = view.training[pixels.cpu()]
    return [
        Training(positive, index if overlap > 0 else None, overlap)
        for positive, index, overlap in zip(
            chosen.positive.tolist(),
            chosen.objects.tolist(),
            chosen.overlaps.tolist(),
        )
    ]
