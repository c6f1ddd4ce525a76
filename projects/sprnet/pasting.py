"""Masks from their boxes into an image, as pure functions.

Only the pixels of the boxes are computed, as patches.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

PIXELS_AT_ONCE = 2**20  # bounds the memory of patches, whatever the boxes


class Patch(NamedTuple):
    """Some columns of what a mask covers of its image."""

    index: int  # of the mask
    top: int
    left: int
    inside: Tensor  # (h, w) bool


def _span(start: Tensor, stop: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """First pixel with its centre in start..stop, and the one after the last,
    of the pixels 0..length - 1; both (n,) int64."""
    first, last = (
        (edge.nan_to_num() - 0.5).ceil().clamp(0, length).long()
        for edge in (start, stop)
    )
    return first, torch.maximum(first, last)


def _interpolation(
    pixels: Tensor, start: Tensor, stop: Tensor, cells: int
) -> Tensor:
    """Bilinear weights of ``cells`` stretched over start..stop on one axis.

    Beyond the centres of the first and last cell their values go on.

    Args:
        pixels: (n, k). start, stop: (n,).

    Returns:
        (n, k, cells).
    """
    extent = (stop - start).clamp(min=1e-6)[:, None]
    places = (pixels + 0.5 - start[:, None]) / extent * cells - 0.5
    places = places.clamp(0, cells - 1)[..., None]
    grid = torch.arange(cells, device=places.device)
    return (1 - (places - grid).abs()).clamp(min=0)


def _groups(
    heights: list[int], widths: list[int], cells: int
) -> Iterator[list[int]]:
    """Indices of boxes to compute together, each as high and wide as the most
    so; boxes without pixels are left out."""
    alike: dict[tuple[int, int], list[int]] = {}
    for index, (height, width) in enumerate(zip(heights, widths)):
        if height and width:
            # Powers of 4: few groups, and no box much larger than it is.
            key = height.bit_length() // 2, width.bit_length() // 2
            alike.setdefault(key, []).append(index)
    for group in alike.values():
        rows = max(cells, *(heights[i] for i in group))
        columns = max(cells, *(widths[i] for i in group))
        at_once = max(PIXELS_AT_ONCE // (rows * columns), 1)
        for first in range(0, len(group), at_once):
            yield group[first : first + at_once]


def mask_patches(
    probabilities: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float,
) -> Iterator[Patch]:
    """Resize masks to their boxes and cut them at a threshold (3.3).

    Bilinear. A pixel belongs to a box if its centre does.

    Args:
        probabilities: (n, S, S) in 0..1.
        boxes: (n, 4) as (x1, y1, x2, y2), in pixels of the image.
        height, width: of the image.
        threshold: a pixel belongs to the mask from this probability on.

    Yields:
        The patches within the image; those of one mask follow each other from
        left to right and cover its box. A box without pixels has none.
    """
    if probabilities.dtype in (torch.float16, torch.bfloat16):
        probabilities = probabilities.float()
    cells = probabilities.shape[-1]
    x1, y1, x2, y2 = boxes.to(probabilities.dtype).unbind(1)
    top, bottom = _span(y1, y2, height)
    left, right = _span(x1, x2, width)
    spans = torch.stack([top, bottom, left, right], 1).tolist()
    heights, widths = (bottom - top).tolist(), (right - left).tolist()

    def weights(group, first, count, start, stop):
        """:func:`_interpolation` of as many pixels for each of a group."""
        pixels = first[group, None] + torch.arange(count, device=boxes.device)
        weight = _interpolation(pixels, start[group], stop[group], cells)
        return weight.to(probabilities)

    for group in _groups(heights, widths, cells):
        rows = max(heights[i] for i in group)
        columns = max(widths[i] for i in group)
        step = max(PIXELS_AT_ONCE // (rows * len(group)), 1)
        down = weights(group, top, rows, y1, y2) @ probabilities[group]
        across = weights(group, left, columns, x1, x2).transpose(1, 2)
        for first in range(0, columns, step):
            group_inside = (
                down @ across[..., first : first + step] >= threshold
            )
            for index, inside in zip(group, group_inside):
                y, end, x, right_end = spans[index]
                x += first
                if x < right_end:
                    inside = inside[: end - y, : right_end - x]
                    yield Patch(index, y, x, inside)


def paste_masks(
    probabilities: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float,
) -> Tensor:
    """:func:`mask_patches` in images of their own.

    Returns:
        (n, height, width) bool.
    """
    masks = torch.zeros(
        (len(boxes), height, width), dtype=torch.bool, device=boxes.device
    )
    for index, top, left, inside in mask_patches(
        probabilities, boxes, height, width, threshold
    ):
        rows, columns = inside.shape
        masks[index, top : top + rows, left : left + columns] = inside
    return masks
