"""Paste masks from their boxes into images: the ``mask_output`` DenseMasks.

This replaces MMDetection's ``_do_paste_mask``, which fades masks to zero at
the edges of their boxes, and always needs dense images.

The interpolation is bilinear (3.3). Beyond the centres of the outermost cells
their values continue. A box covers the pixels whose centres it contains.
Shape letters: see :mod:`.structures`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from .structures import joined

ON_CPU_AT_ONCE = 2**20  # pixels; stay in the caches
MASKS_AT_ONCE = 64  # bounds the memory of their weights
ON_GPU_AT_ONCE = 2**26  # pixels; few operations, bounded memory
MOST_PADDING = 2  # pixels that are computed, for each that is needed


@TASK_UTILS.register_module()
class DenseMasks:
    """Boolean images, as from every mask head of MMDetection."""

    def __call__(
        self,
        probabilities: Tensor,
        boxes: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        threshold: float,
    ) -> list[Tensor]:
        """Paste each mask into an image of its own.

        Args:
            probabilities: (P, S, S) in 0..1, of all pictures in their order.
            boxes: (P_n, 4) of each picture, as (x1, y1, x2, y2), in its
                pixels.
            sizes: Height and width of each picture.
            threshold: Least probability of a mask's pixel.

        Returns:
            (P_n, height, width) bool of each picture.
        """
        if probabilities.device.type == 'cpu':
            return [
                paste_one_by_one(part, *picture, threshold)
                for part, *picture in zip(
                    probabilities.split([*map(len, boxes)]), boxes, sizes
                )
            ]
        return paste_together(probabilities, boxes, sizes, threshold)


def cell_weights(shares: Tensor, cells: int) -> Tensor:
    """Return the weights of a row of cells at some points, one axis at a time.

    Args:
        shares: (...) places of the points, from 0 at the start of the first
            cell to 1 at the end of the last.
        cells: Their number.

    Returns:
        (..., cells).
    """
    half = 0.5 / cells
    centres = torch.linspace(
        half, 1 - half, cells, device=shares.device, dtype=shares.dtype
    )
    distances = shares.clamp(half, 1 - half)[..., None] - centres
    return torch.rsub(distances.abs_(), 1, alpha=cells).relu_()


def paste_together(
    probabilities: Tensor,
    boxes: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    threshold: float,
) -> list[Tensor]:
    """Paste the masks of all pictures in few operations, for which a GPU does
    not wait.

    Every mask is computed over its whole picture. Pictures of different sizes
    share a tensor, of which each gets a view, unless most of it would be
    padding.

    Args:
        As for :class:`DenseMasks`.
    """
    counts = [*map(len, boxes)]
    height, width = (max(sides) for sides in zip(*sizes))
    needed = sum(n * h * w for n, (h, w) in zip(counts, sizes))
    if sum(counts) * height * width > MOST_PADDING * needed:
        return [
            paste_together(part, [own], [size], threshold)[0]
            for part, own, size in zip(
                probabilities.split(counts), boxes, sizes
            )
        ]
    corners = joined(boxes).to(probabilities).view(-1, 2, 2, 1)
    masks = corners.new_empty((sum(counts), height, width), dtype=torch.bool)
    at_once = max(ON_GPU_AT_ONCE // (height * width), 1)
    for first in range(0, len(masks), at_once):
        part = slice(first, first + at_once)
        across, down = _canvas_weights(
            corners[part], max(height, width), probabilities.shape[-1]
        ).unbind(1)
        stretched = down[:, :height] @ probabilities[part]
        filled = stretched @ across[:, :width].transpose(1, 2)
        torch.ge(filled, threshold, out=masks[part])
    return [
        part[:, :height, :width]
        for part, (height, width) in zip(masks.split(counts), sizes)
    ]


def _canvas_weights(corners: Tensor, count: int, cells: int) -> Tensor:
    """Weights of cells that are stretched over boxes, for every pixel.

    Args:
        corners: (P, 2, 2, 1) first and last corner of the boxes, as (x, y).
        count: Number of pixels on an axis.
        cells: Number of cells on an axis.

    Returns:
        (P, 2, count, cells) for the axes (x, y); NaN outside of the box.
    """
    start, stop = corners.unbind(1)
    pixels = torch.arange(
        0.5, count, device=corners.device, dtype=corners.dtype
    )
    sides = (stop - start).clamp_(min=0)  # no pixel is in a negative side
    shares = (pixels - start) / sides
    outside = shares.floor() != 0
    weights = cell_weights(shares, cells)
    return weights.masked_fill_(outside[..., None], torch.nan)


class Window(NamedTuple):
    """The part of an image that a mask covers, or some of its columns."""

    index: int  # of the mask
    top: int
    left: int
    values: np.ndarray  # (h, w) probabilities


def mask_windows(
    probabilities: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
) -> Iterator[Window]:
    """Resize the masks of a picture to their boxes.

    For a CPU: nothing is computed outside of the boxes. NumPy's products of
    small matrices take a third of PyTorch's time.

    Args:
        probabilities: (P, S, S) in 0..1.
        boxes: (P, 4) as (x1, y1, x2, y2), in pixels of the image.
        size: Height and width of the image.

    Yields:
        Windows within the image. Those of one mask follow each other from
        left to right and cover its box; a box without pixels has none.
    """
    probabilities = probabilities.detach()
    if probabilities.dtype in (torch.float16, torch.bfloat16):
        probabilities = probabilities.float()
    corners = boxes.to(probabilities).view(-1, 2, 2)
    sides = corners.new_tensor(size[::-1])
    spans = (corners.nan_to_num() - 0.5).ceil().clamp(min=0).minimum(sides)
    for first in range(0, len(boxes), MASKS_AT_ONCE):
        part = slice(first, first + MASKS_AT_ONCE)
        weights = _window_weights(
            corners[part], spans[part].long(), probabilities.shape[-1]
        )
        masks = zip(probabilities[part].numpy(), spans[part, 0].int().tolist())
        for index, (cells, (left, top)) in enumerate(masks, start=first):
            across, down = next(weights), next(weights)
            if not across.size or not down.size:
                continue
            stretched = down @ cells
            columns = max(ON_CPU_AT_ONCE // len(down), 1)
            for start in range(0, len(across), columns):
                block = across[start : start + columns]
                yield Window(index, top, left + start, stretched @ block.T)


def _window_weights(
    corners: Tensor, spans: Tensor, cells: int
) -> Iterator[np.ndarray]:
    """Weights of cells that are stretched over boxes, for their own pixels.

    Args:
        corners: (n, 2, 2) first and last corner of the boxes, as (x, y).
        spans: (n, 2, 2) their first pixel, and the one after the last.
        cells: Number of cells on an axis.

    Yields:
        (w, cells) for x and (h, cells) for y of each box in turn.
    """
    start, stop = corners.transpose(0, 1).flatten(1)
    first, end = spans.transpose(0, 1).flatten(1)
    lengths = (end - first).clamp(min=0)
    axis = torch.arange(len(lengths)).repeat_interleave(lengths)
    pixels = first - (lengths.cumsum(0) - lengths)
    pixels = torch.arange(len(axis)) + pixels[axis] + 0.5
    shares = (pixels - start[axis]) / (stop - start)[axis]
    weights = cell_weights(shares, cells).numpy()
    ends = lengths.cumsum(0).tolist()
    for begin, end in zip([0, *ends], ends):
        yield weights[begin:end]


def paste_one_by_one(
    probabilities: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    threshold: float,
) -> Tensor:
    """Paste the masks of one picture, on a CPU.

    Args:
        probabilities, boxes, size: As for :func:`mask_windows`.
        threshold: Least probability of a mask's pixel.

    Returns:
        (P, height, width) bool.
    """
    masks = np.zeros((len(boxes), *size), bool)
    for index, top, left, values in mask_windows(probabilities, boxes, size):
        height, width = values.shape
        window = masks[index, top : top + height, left : left + width]
        np.greater_equal(values, threshold, out=window)
    return torch.from_numpy(masks)
