"""Paste masks from their boxes into images: the ``mask_output`` DenseMasks.

This replaces MMDetection's ``_do_paste_mask``, which fades masks to zero at
the edges of their boxes, always needs dense images, and pastes masks one by
one on a CPU and over the whole image on a GPU.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from .structures import joined, moved


class Budget(NamedTuple):
    """Numbers of pixels that are computed together."""

    at_once: int
    padding: int  # that costs less than a further group


ON_CPU = Budget(2**20, 2**16)  # stays in the caches
ON_GPU = Budget(2**26, 2**23)  # few launches, bounded memory
MOST_PADDING = 2  # pixels that are computed together, for each that is needed


class Windows(NamedTuple):
    """Parts of equal size of the images of n masks, which cover their boxes or
    some columns of them."""

    masks: Sequence[int]  # (n,) indices
    tops: Sequence[int]  # (n,) first rows
    lefts: Sequence[int]  # (n,) first columns
    inside: Tensor  # (n, h, w) bool, the pixels of the masks


def _spans(edges: Tensor, sides: Tensor) -> Tensor:
    """First pixel whose centre lies between edges, and the one after the last.

    Args:
        edges: (P, 2, 2) of boxes on the axes (y, x).
        sides: (2, 1) height and width of the image, to which pixels are
            clipped.

    Returns:
        (P, 2, 2) int64.
    """
    pixels = (edges.nan_to_num() - 0.5).ceil().clamp(min=0).minimum(sides)
    pixels = pixels.long()
    return pixels.maximum(pixels[..., :1])


def _weights(
    edges: Tensor, spans: Tensor, corners: Tensor, count: int, cells: int
) -> Tensor:
    """Bilinear weights of cells that are stretched over boxes, on each axis.

    Beyond the centres of the first and last cell their values continue.

    Args:
        edges: (n, 2, 2) of the boxes.
        spans: (n, 2, 2) of their pixels.
        corners: (n, 2) first pixel of a window.
        count: Number of the window's pixels on an axis.
        cells: Number of cells on an axis.

    Returns:
        (n, 2, count, cells); NaN for pixels outside of the box.
    """
    start, stop = edges.split(1, dim=2)
    pixels = corners[..., None] + torch.arange(count, device=corners.device)
    extent = (stop - start).clamp(min=1e-6)
    points = (pixels + 0.5 - start) / extent * cells - 0.5
    points = points.clamp(0, cells - 1)[..., None]
    distances = (points - torch.arange(cells, device=corners.device)).abs_()
    weights = distances.neg_().add_(1).clamp_(min=0)
    outside = (pixels < spans[..., :1]) | (pixels >= spans[..., 1:])
    return weights.masked_fill_(outside[..., None], torch.nan)


def _size(group: Sequence[int], spans: Sequence[Sequence[int]]) -> list[int]:
    """Largest height and width of some boxes."""
    return [
        max(spans[i][axis + 1] - spans[i][axis] for i in group)
        for axis in (0, 2)
    ]


def _groups(
    spans: Sequence[Sequence[int]], cells: int, budget: Budget
) -> Iterator[list[int]]:
    """Group the indices of boxes, each padded to the largest of its group.

    Boxes without pixels are in no group.

    Args:
        spans: First row, end of the rows, first column and end of the columns
            of each box.
        cells: Side of the masks.
        budget: Limits of the groups.
    """
    similar: dict[tuple[int, int], list[int]] = {}
    for index in range(len(spans)):
        height, width = _size([index], spans)
        if height and width:
            # Sizes within a factor of 4
            key = height.bit_length() // 2, width.bit_length() // 2
            similar.setdefault(key, []).append(index)

    def area(group: list[int]) -> int:
        """Pixels of a group, with its padding."""
        return len(group) * math.prod(_size(group, spans))

    merged: list[list[int]] = []
    for group in sorted(similar.values(), key=area):
        if merged and area(merged[-1] + group) <= (
            area(merged[-1]) + area(group) + budget.padding
        ):
            merged[-1] += group
        else:
            merged.append(group)
    for group in merged:
        rows, columns = (max(cells, side) for side in _size(group, spans))
        count = max(budget.at_once // (rows * columns), 1)
        for first in range(0, len(group), count):
            yield group[first : first + count]


def mask_windows(
    probabilities: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    threshold: float,
) -> Iterator[Windows]:
    """Resize masks to their boxes and threshold them (3.3).

    The interpolation is bilinear. A box covers the pixels whose centres it
    contains.

    Args:
        probabilities: (P, S, S) in 0..1.
        boxes: (P, 4) as (x1, y1, x2, y2), in pixels of the image.
        size: Height and width of the image.
        threshold: Least probability of a mask's pixel.

    Yields:
        Windows within the image. Those of one mask follow each other from
        left to right and cover its box; a box without pixels has none.
    """
    if probabilities.dtype in (torch.float16, torch.bfloat16):
        probabilities = probabilities.float()
    height, width = size
    cells, device = probabilities.shape[-1], boxes.device
    budget = ON_CPU if device.type == 'cpu' else ON_GPU

    edges = boxes.to(probabilities.dtype).unflatten(1, (2, 2))
    edges = edges.transpose(1, 2).flip(1)  # (y, x), (first, last)
    sides = torch.tensor([[height], [width]], dtype=edges.dtype)
    spans = _spans(edges, moved(sides, device))
    # The only wait of a GPU: sizes decide what is computed together.
    pixels = spans.flatten(1).tolist()
    for group in _groups(pixels, cells, budget):
        rows, columns = _size(group, pixels)
        tops = [min(pixels[i][0], height - rows) for i in group]
        lefts = [min(pixels[i][2], width - columns) for i in group]
        plan = moved(torch.tensor([group, tops, lefts]).T, device)
        chosen, corners = plan[:, 0], plan[:, 1:]
        weights = _weights(
            edges[chosen], spans[chosen], corners, max(rows, columns), cells
        )
        down, across = weights[:, 0, :rows], weights[:, 1, :columns]
        stretched = down @ probabilities[chosen]
        step = max(budget.at_once // (rows * len(group)), 1)
        for first in range(0, columns, step):
            part = across[:, first : first + step].transpose(1, 2)
            yield Windows(
                group,
                tops,
                [left + first for left in lefts],
                stretched @ part >= threshold,
            )


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
                paste_windows(part, *picture, threshold)
                for part, *picture in zip(
                    probabilities.split([*map(len, boxes)]), boxes, sizes
                )
            ]
        return paste_together(probabilities, boxes, sizes, threshold)


def paste_windows(
    probabilities: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    threshold: float,
) -> Tensor:
    """Paste the masks of one picture, as :func:`mask_windows` does.

    Returns:
        (P, height, width) bool.
    """
    height, width = size
    masks = torch.zeros(
        (len(boxes), height, width), dtype=torch.bool, device=boxes.device
    )
    for windows in mask_windows(probabilities, boxes, size, threshold):
        _, rows, columns = windows.inside.shape
        corners = [
            (index * height + top) * width + left
            for index, top, left in zip(*windows[:3])
        ]
        starts = torch.tensor(corners)[:, None] + width * torch.arange(rows)
        starts = moved(starts, boxes.device)
        # All rows of the windows in one operation: each begins at some pixel.
        masks.view(-1).unfold(0, columns, 1)[starts] = windows.inside
    return masks


def paste_together(
    probabilities: Tensor,
    boxes: Sequence[Tensor],
    sizes: Sequence[tuple[int, int]],
    threshold: float,
) -> list[Tensor]:
    """Paste the masks of all pictures in few operations, for which a GPU does
    not wait.

    Every mask is computed over the whole picture. Pictures of different sizes
    share a tensor, of which each gets a view, unless most of it would be
    padding.

    Args:
        As for :class:`DenseMasks`.
    """
    counts = [*map(len, boxes)]
    height, width = (max(sides) for sides in zip(*sizes))
    pixels = sum(n * h * w for n, (h, w) in zip(counts, sizes))
    if sum(counts) * height * width > MOST_PADDING * max(pixels, 1):
        return [
            paste_together(part, [own], [size], threshold)[0]
            for part, own, size in zip(
                probabilities.split(counts), boxes, sizes
            )
        ]
    everything = joined(boxes).to(probabilities)
    masks = probabilities.new_empty(
        (sum(counts), height, width), dtype=torch.bool
    )
    at_once = max(ON_GPU.at_once // (height * width), 1)
    for first in range(0, len(masks), at_once):
        part = slice(first, first + at_once)
        across, down = axis_weights(
            everything[part], max(height, width), probabilities.shape[-1]
        ).unbind(1)
        stretched = down[:, :height] @ probabilities[part]
        filled = stretched @ across[:, :width].transpose(1, 2)
        torch.ge(filled, threshold, out=masks[part])
    return [
        part[:, :height, :width]
        for part, (height, width) in zip(masks.split(counts), sizes)
    ]


def axis_weights(boxes: Tensor, count: int, cells: int) -> Tensor:
    """Bilinear weights of cells that are stretched over boxes, on each axis.

    Beyond the centres of the first and last cell their values continue.

    Args:
        boxes: (P, 4) as (x1, y1, x2, y2).
        count: Number of pixels on an axis, from 0 on.
        cells: Number of cells on an axis.

    Returns:
        (P, 2, count, cells) for the axes (x, y); NaN for pixels whose centres
        are outside of the box.
    """
    start, stop = boxes.view(-1, 2, 2, 1).unbind(1)
    centres = torch.arange(0.5, count, device=boxes.device, dtype=boxes.dtype)
    shares = (centres - start) / (stop - start)  # (P, 2, count)
    outside = shares.floor() != 0
    half = 0.5 / cells
    cell_centres = torch.linspace(
        half, 1 - half, cells, device=boxes.device, dtype=boxes.dtype
    )
    distances = shares.clamp(half, 1 - half)[..., None] - cell_centres
    weights = torch.rsub(distances.abs_(), 1, alpha=cells).relu_()
    return weights.masked_fill_(outside[..., None], torch.nan)
