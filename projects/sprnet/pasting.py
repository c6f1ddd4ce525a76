"""Paste masks from their boxes into an image, as pure functions.

This replaces MMDetection's ``_do_paste_mask``, which fades masks to zero at
the edges of their boxes, always needs dense images, and pastes masks one by
one on a CPU and over the whole image on a GPU.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

PIXELS_AT_ONCE = 2**20  # bounds the memory of patches


class Patch(NamedTuple):
    """Some columns of the part of an image that a mask's box covers."""

    index: int  # of the mask
    top: int
    left: int
    inside: Tensor  # (h, w) bool


def _span(start: Tensor, stop: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """First pixel whose centre lies in start..stop and the one after the last,
    clipped to an axis of ``length`` pixels; both (P,) int64."""
    first, last = (
        (edge.nan_to_num() - 0.5).ceil().clamp(0, length).long()
        for edge in (start, stop)
    )
    return first, torch.maximum(first, last)


def _interpolation(
    pixels: Tensor, start: Tensor, stop: Tensor, cells: int
) -> Tensor:
    """Bilinear weights on one axis of ``cells`` stretched over start..stop.

    Beyond the centres of the first and last cell their values continue.

    Args:
        pixels: (P, k).
        start, stop: (P,).

    Returns:
        (P, k, cells).
    """
    extent = (stop - start).clamp(min=1e-6)[:, None]
    points = (pixels + 0.5 - start[:, None]) / extent * cells - 0.5
    points = points.clamp(0, cells - 1)[..., None]
    grid = torch.arange(cells, device=points.device)
    return (1 - (points - grid).abs()).clamp(min=0)


def _groups(
    heights: list[int], widths: list[int], cells: int
) -> Iterator[list[int]]:
    """Group the indices of boxes of similar height and width.

    A group is computed together, padded to its largest box. Boxes without
    pixels are in no group.
    """
    similar: dict[tuple[int, int], list[int]] = {}
    for index, (height, width) in enumerate(zip(heights, widths)):
        if height and width:
            # Sizes within a factor of 4: few groups, little padding.
            key = height.bit_length() // 2, width.bit_length() // 2
            similar.setdefault(key, []).append(index)
    for group in similar.values():
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
    """Resize masks to their boxes and threshold them (3.3).

    The interpolation is bilinear. A box covers the pixels whose centres it
    contains.

    Args:
        probabilities: (P, S, S) in 0..1.
        boxes: (P, 4) as (x1, y1, x2, y2), in pixels of the image.
        height, width: Size of the image.
        threshold: Least probability of a mask's pixel.

    Yields:
        Patches within the image. Those of one mask follow each other from
        left to right and cover its box; a box without pixels has none.
    """
    if probabilities.dtype in (torch.float16, torch.bfloat16):
        probabilities = probabilities.float()
    cells = probabilities.shape[-1]
    x1, y1, x2, y2 = boxes.to(probabilities.dtype).unbind(1)
    tops, bottoms = _span(y1, y2, height)
    lefts, rights = _span(x1, x2, width)
    spans = torch.stack([tops, bottoms, lefts, rights], 1).tolist()
    heights, widths = (bottoms - tops).tolist(), (rights - lefts).tolist()

    def weights(group, first, count, start, stop):
        """(len(group), count, S): weights of ``count`` pixels per mask."""
        pixels = first[group, None] + torch.arange(count, device=boxes.device)
        weight = _interpolation(pixels, start[group], stop[group], cells)
        return weight.to(probabilities)

    for group in _groups(heights, widths, cells):
        rows = max(heights[i] for i in group)
        columns = max(widths[i] for i in group)
        step = max(PIXELS_AT_ONCE // (rows * len(group)), 1)
        stretched = weights(group, tops, rows, y1, y2) @ probabilities[group]
        across = weights(group, lefts, columns, x1, x2).transpose(1, 2)
        for first in range(0, columns, step):
            values = stretched @ across[..., first : first + step]
            for index, inside in zip(group, values >= threshold):
                top, bottom, left, right = spans[index]
                left += first
                if left < right:
                    inside = inside[: bottom - top, : right - left]
                    yield Patch(index, top, left, inside)


def paste_masks(
    probabilities: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float,
) -> Tensor:
    """Paste each mask into an image of its own, as :func:`mask_patches` does.

    Returns:
        (P, height, width) bool.
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
