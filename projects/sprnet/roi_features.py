"""Bilinear samples of feature maps in boxes, as pure functions.

They equal RoIAlign with one sample at the centre of each cell. But no box is
sorted by its level, and no map is copied for its boxes. Beyond the centres of
a map's outermost pixels their values continue.
Shape letters: see :mod:`.structures`; M is the number of points of a box.
"""

from collections.abc import Sequence
from typing import NamedTuple

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


class MapTable(NamedTuple):
    """What P boxes need to know of the map that each is read on.

    All fields are float and exact: a pyramid has fewer than 2 ** 24 locations.
    """

    stride: Tensor  # (P, 1)
    shift: Tensor  # (P, 4) from the edge of a map to the centre of its pixel
    first: Tensor  # (P, 2) its first pixel, as (x, y)
    last: Tensor  # (P, 2)
    width: Tensor  # (P, 1)
    rows: Tensor  # (P, 4) of flatten_pyramid: of its first pixel, and of those
    # to the right, below, and below to the right

    @classmethod
    def of(
        cls,
        maps: Tensor,
        sizes: Sequence[tuple[int, int]],
        strides: Sequence[int],
        like: Tensor,
    ) -> 'MapTable':
        """Look up maps (..., P); the fields have the same leading axes.

        Args:
            maps: Indices.
            sizes: Height and width of each map.
            strides: Stride of each map.
            like: Has the dtype and device of the fields.
        """
        fields = []
        starts = level_starts(sizes)
        for stride, start, (height, width) in zip(strides, starts, sizes):
            rows = [start, start + 1, start + width, start + width + 1]
            last = [width - 1, height - 1]
            fields.append([stride, *4 * [-0.5], 0, 0, *last, width, *rows])
        table = number_table(fields, like)
        return cls(*table[maps].split([1, 4, 2, 2, 1, 4], -1))


def points_in_boxes(boxes: Tensor, on: MapTable, centres: Tensor) -> Tensor:
    """Place the centres of a grid's cells in boxes.

    Args:
        boxes: (P, 4) in pixels of the network's input.
        on: The map of each box.
        centres: (M, 2) as (x, y), see :func:`grid_centres`.

    Returns:
        (..., P, M, 2) as (x, y), in pixels of the map and within it; (0, 0) is
        the centre of the upper left pixel.
    """
    boxes = torch.addcdiv(on.shift, boxes, on.stride)[..., None, :]
    points = torch.lerp(boxes[..., :2], boxes[..., 2:], centres)
    return points.clamp(on.first[..., None, :], on.last[..., None, :])


def sample_pyramid(
    levels: Sequence[Tensor], pictures: Tensor, points: Tensor, on: MapTable
) -> Tensor:
    """Sample a pyramid bilinearly, each box on one level.

    Args:
        levels: (N, C, H_l, W_l) of each.
        pictures: (P,) picture of each box.
        points: (P, M, 2) on its level, see :func:`points_in_boxes`.
        on: The level of each box.

    Returns:
        (P, C, M).
    """
    rows = flatten_pyramid(levels)
    low = points.floor()
    taps = torch.addcmul(low[..., :1], low[..., 1:], on.width[:, None])
    # Past the last row or column are other rows, whose weight is zero.
    taps = (taps + on.rows[:, None]).long()
    length = level_starts(pyramid_sizes(levels))[-1]
    taps = torch.add(taps, pictures[:, None, None], alpha=length)
    taps = taps.clamp(0, rows.shape[0] - 1)  # NaN is any number
    share = points - low
    share = torch.stack([1 - share, share], dim=-1)
    weights = share[:, :, 1, :, None] * share[:, :, 0, None]
    values = rows.index_select(0, taps.flatten()).unflatten(0, (-1, 4))
    values = weights.view(-1, 1, 4).to(values) @ values
    return values.view(*points.shape[:2], rows.shape[1]).transpose(1, 2)


def sample_map(feat: Tensor, pictures: Tensor, points: Tensor) -> Tensor:
    """Sample one feature map bilinearly.

    Args:
        feat: (N, C, H, W).
        pictures: (P,) picture of each box.
        points: (P, M, 2) on the map, see :func:`points_in_boxes`.

    Returns:
        (P, C, M), in float32 or wider.
    """
    # One picture below the other, so that a single call samples all of them
    column = feat.transpose(0, 1).flatten(1, 2)[None]
    height, width = feat.shape[2:]
    total = column.shape[2]
    scale, shift, below = number_table(
        [
            [2 / width, 2 / total],
            [1 / width - 1, 1 / total - 1],
            [0, 2 * height / total],
        ],
        points,
    )
    shift = torch.addcmul(shift, pictures[:, None], below)
    grid = torch.addcmul(shift[:, None], points, scale)
    dtype = torch.promote_types(feat.dtype, torch.float32)
    # padding_mode='border' writes outside of the gradient for a point of NaN.
    sampled = F.grid_sample(
        column.to(dtype), grid[None].to(dtype), align_corners=False
    )
    return sampled[0].transpose(0, 1)
