"""Paste masks from their boxes into an image, as pure functions.

This replaces MMDetection's ``_do_paste_mask``, which fades masks to zero at
the edges of their boxes, always needs dense images, and pastes masks one by
one on a CPU and over the whole image on a GPU.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor


class Budget(NamedTuple):
    """Numbers of pixels that are computed together."""

    at_once: int
    padding: int  # that costs less than a further group


ON_CPU = Budget(2**20, 2**16)  # stays in the caches
ON_GPU = Budget(2**24, 2**22)  # few launches, bounded memory


class Windows(NamedTuple):
    """Parts of equal size of the images of n masks, which cover their boxes or
    some columns of them."""

    masks: Sequence[int]  # (n,) indices
    tops: Sequence[int]  # (n,) first rows
    lefts: Sequence[int]  # (n,) first columns
    corners: Tensor  # (n,) index of the first pixel in all masks' images
    inside: Tensor  # (n, h, w) bool, the pixels of the masks


def _span(edges: Tensor, length: int) -> Tensor:
    """First pixel whose centre lies between the edges (P, 2) of boxes and the
    one after the last, clipped to an axis of ``length`` pixels; (P, 2)."""
    pixels = (edges.nan_to_num() - 0.5).ceil().clamp(0, length).long()
    return torch.maximum(pixels, pixels[:, :1])


def _weights(
    edges: Tensor, span: Tensor, corner: Tensor, count: int, cells: int
) -> Tensor:
    """Bilinear weights on one axis of cells that are stretched over a box.

    Beyond the centres of the first and last cell their values continue.

    Args:
        edges: (n, 2) of the box on this axis.
        span: (n, 2) its first pixel and the one after the last.
        corner: (n,) first pixel of a window.
        count: Number of the window's pixels.
        cells: Number of cells.

    Returns:
        (n, count, cells); NaN for pixels outside of the box.
    """
    pixels = corner[:, None] + torch.arange(count, device=corner.device)
    extent = (edges[:, 1:] - edges[:, :1]).clamp(min=1e-6)
    points = (pixels + 0.5 - edges[:, :1]) / extent * cells - 0.5
    points = points.clamp(0, cells - 1)[..., None]
    grid = torch.arange(cells, device=corner.device)
    weights = (1 - (points - grid).abs_()).clamp_(min=0)
    outside = (pixels < span[:, :1]) | (pixels >= span[:, 1:])
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
    height: int,
    width: int,
    threshold: float,
) -> Iterator[Windows]:
    """Resize masks to their boxes and threshold them (3.3).

    The interpolation is bilinear. A box covers the pixels whose centres it
    contains.

    Args:
        probabilities: (P, S, S) in 0..1.
        boxes: (P, 4) as (x1, y1, x2, y2), in pixels of the image.
        height, width: Size of the image.
        threshold: Least probability of a mask's pixel.

    Yields:
        Windows within the image. Those of one mask follow each other from
        left to right and cover its box; a box without pixels has none.
    """
    if probabilities.dtype in (torch.float16, torch.bfloat16):
        probabilities = probabilities.float()
    cells, device = probabilities.shape[-1], boxes.device
    budget = ON_CPU if device.type == 'cpu' else ON_GPU
    x1, y1, x2, y2 = boxes.to(probabilities.dtype).unbind(1)
    ys, xs = torch.stack([y1, y2], dim=1), torch.stack([x1, x2], dim=1)
    y_span, x_span = _span(ys, height), _span(xs, width)
    # The only wait of a GPU: sizes decide what is computed together.
    spans = torch.cat([y_span, x_span], dim=1).tolist()
    groups = list(_groups(spans, cells, budget))
    order = torch.tensor(list(chain(*groups)), dtype=torch.long, device=device)
    for group, chosen in zip(groups, order.split([len(g) for g in groups])):
        rows, columns = _size(group, spans)
        top = y_span[chosen, 0].clamp(max=height - rows)
        left = x_span[chosen, 0].clamp(max=width - columns)
        stretched = (
            _weights(ys[chosen], y_span[chosen], top, rows, cells)
            @ probabilities[chosen]
        )
        across = _weights(xs[chosen], x_span[chosen], left, columns, cells)
        across = across.transpose(1, 2)
        step = max(budget.at_once // (rows * len(group)), 1)
        for first in range(0, columns, step):
            yield Windows(
                group,
                [min(spans[i][0], height - rows) for i in group],
                [min(spans[i][2], width - columns) + first for i in group],
                (chosen * height + top) * width + left + first,
                stretched @ across[..., first : first + step] >= threshold,
            )


def paste_masks(
    probabilities: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float,
) -> Tensor:
    """Paste each mask into an image of its own, as :func:`mask_windows` does.

    Returns:
        (P, height, width) bool.
    """
    masks = torch.zeros(
        (len(boxes), height, width), dtype=torch.bool, device=boxes.device
    )
    for windows in mask_windows(
        probabilities, boxes, height, width, threshold
    ):
        _, rows, columns = windows.inside.shape
        starts = windows.corners[:, None] + width * torch.arange(
            rows, device=boxes.device
        )
        # All rows of the windows in one operation: each begins at some pixel.
        masks.view(-1).unfold(0, columns, 1)[starts] = windows.inside
    return masks
