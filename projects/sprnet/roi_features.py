"""Bilinear samples of feature maps in boxes, as pure functions.

They equal RoIAlign with one sample at the centre of each cell. But no box is
sorted by its level, and no large map is copied for its boxes. Beyond the
centres of a map's outermost pixels their values continue.
Shape letters: see :mod:`.structures`; M is the number of cells of a grid.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .pyramid import (
    flatten_pyramid,
    level_starts,
    number_table,
    pyramid_sizes,
)


def grid_centres(cells: int) -> Tensor:
    """Centres of the cells of a grid that fills the unit square.

    Returns:
        (cells * cells, 2) as (x, y), row by row.
    """
    centres = (torch.arange(cells) + 0.5) / cells
    return torch.cartesian_prod(centres, centres).flip(1)


def points_in_boxes(boxes: Tensor, centres: Tensor) -> Tensor:
    """Place the centres of a grid's cells in boxes.

    Args:
        boxes: (P, 4).
        centres: (M, 2), see :func:`grid_centres`.

    Returns:
        (P, M, 2) as (x, y), in pixels of the boxes.
    """
    return torch.lerp(boxes[:, None, :2], boxes[:, None, 2:], centres)


def sample_pyramid(
    levels: Sequence[Tensor],
    strides: Sequence[int],
    read: Tensor,
    pictures: Tensor,
    points: Tensor,
) -> Tensor:
    """Sample a pyramid bilinearly, each box on one level.

    Args:
        levels: (N, C, H_l, W_l) of each.
        strides: Of each level.
        read: (P,) level of each box.
        pictures: (P,) picture of each box.
        points: (P, M, 2) in boxes, in pixels of the network's input.

    Returns:
        (P, C, M).
    """
    sizes = pyramid_sizes(levels)
    starts = level_starts(sizes)
    # All numbers are exact: a pyramid has fewer than 2 ** 24 locations.
    table = number_table(
        [
            [stride, -0.5, 0, width - 1, height - 1, width]
            + _taps(start, width)
            for stride, start, (height, width) in zip(strides, starts, sizes)
        ],
        points,
    )
    table = table[read, None].split([1, 1, 1, 2, 1, 4], dim=2)
    stride, to_centre, first, last, width, taps = table
    places = torch.addcdiv(to_centre, points, stride).clamp(first, last)
    low = places.floor()
    # Past the last row or column are other rows, whose weight is zero.
    taps = taps + torch.addcmul(low[..., :1], low[..., 1:], width)
    taps = torch.add(taps.long(), pictures[:, None, None], alpha=starts[-1])
    rows = flatten_pyramid(levels)
    taps = taps.clamp_(0, rows.shape[0] - 1)  # NaN is any number
    share = places - low
    share = torch.stack([1 - share, share], dim=-1)
    weights = share[:, :, 1, :, None] * share[:, :, 0, None]
    values = rows.index_select(0, taps.flatten()).unflatten(0, (-1, 4))
    values = weights.view(-1, 1, 4).to(values) @ values
    return values.view(*points.shape[:2], rows.shape[1]).transpose(1, 2)


def _taps(start: int, width: int) -> list[int]:
    """Rows of :func:`flatten_pyramid`: a level's first pixel, and those to the
    right, below, and below to the right."""
    return [start, start + 1, start + width, start + width + 1]


def sample_map(
    feat: Tensor, stride: int, pictures: Tensor, points: Tensor
) -> Tensor:
    """Sample one feature map bilinearly.

    Args:
        feat: (N, C, H, W).
        stride: Of the map.
        pictures, points: As for :func:`sample_pyramid`.

    Returns:
        (P, C, M), in float32 or wider.
    """
    # One picture below the other, so that a single call samples all of them.
    # grid_sample counts from -1 to 1 between the edges of this column.
    column = feat.transpose(0, 1).flatten(1, 2)[None]
    height, width = feat.shape[2:]
    total = column.shape[2]
    scale, edge, first, last, below = number_table(
        [
            [2 / (stride * width), 2 / (stride * total)],
            [-1, -1],
            [1 / width - 1, 1 / total - 1],
            [1 - 1 / width, (2 * height - 1) / total - 1],
            [0, 2 * height / total],
        ],
        points,
    )
    grid = torch.addcmul(edge, points, scale).clamp(first, last)
    grid = torch.addcmul(grid, pictures[:, None, None], below)
    dtype = torch.promote_types(feat.dtype, torch.float32)
    # padding_mode='border' writes outside of the gradient for a point of NaN.
    sampled = F.grid_sample(
        column.to(dtype), grid[None].to(dtype), align_corners=False
    )
    return sampled[0].transpose(0, 1)
