"""Pixels of a feature pyramid, as pure functions.

A pyramid is a list of maps (N, C, H_l, W_l), finest first. A pixel of it is
one number: its place when the levels of one image are laid end to end, each
row by row. That is also the order of MMDetection's anchors.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Sizes = Sequence[tuple[int, int]]  # (H_l, W_l) of every level


def pyramid_sizes(feats: Sequence[Tensor]) -> list[tuple[int, int]]:
    """(H_l, W_l) of every level."""
    return [tuple(feat.shape[-2:]) for feat in feats]


def flatten_pyramid(feats: Sequence[Tensor]) -> Tensor:
    """Lay a pyramid out as rows, one a pixel, and a row of zeros an image.

    Maps (N, C, H_l, W_l) -> (N * (L + 1), C) where L is the sum of H_l * W_l:
    pixel p of image n is row n * (L + 1) + p, zeros are row n * (L + 1) + L.
    """
    levels = [feat.flatten(2).transpose(1, 2) for feat in feats]
    zeros = levels[0].new_zeros(levels[0].shape[0], 1, levels[0].shape[2])
    return torch.cat([*levels, zeros], dim=1).flatten(0, 1)


def _table(sizes: Sizes, like: Tensor) -> Tensor:
    """(L, 2) of the type and on the device of ``like``."""
    # One by one: as a list, the sizes would be constants of a traced graph.
    sides = [
        torch.scalar_tensor(side, dtype=like.dtype)
        for size in sizes
        for side in size
    ]
    return torch.stack(sides).view(-1, 2).to(like.device)


def locate(pixels: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor, Tensor]:
    """Level, row and column of pixels, each like ``pixels``."""
    return _locate(pixels, _table(sizes, pixels))


def _locate(pixels: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    ends = table.prod(1).cumsum(0)
    level = torch.bucketize(pixels, ends, right=True)
    place = pixels - (ends - table.prod(1))[level]
    width = table[level, 1]
    return level, place // width, place % width


def window_rows(
    images: Tensor,
    pixels: Tensor,
    sizes: Sizes,
    kernel: int,
    dilation: int,
) -> Tensor:
    """Rows that a convolution's window around each pixel covers.

    Args:
        images: (P,) the image of each pixel.
        pixels: (P,) pixels of the pyramid.
        sizes: the levels' heights and widths.
        kernel: side of the window, odd.
        dilation: distance of neighbouring taps.

    Returns:
        (P, kernel * kernel) rows of :func:`flatten_pyramid`, in the order of a
        convolution's weights; outside of the pixel's level, a row of zeros.
    """
    table = _table(sizes, pixels)
    level, y, x = _locate(pixels, table)
    height, width = table[level, 0, None], table[level, 1, None]
    reach = torch.arange(kernel, device=pixels.device) - kernel // 2
    dy, dx = torch.meshgrid(reach * dilation, reach * dilation, indexing='ij')
    dy, dx = dy.flatten(), dx.flatten()
    y, x = y[:, None] + dy, x[:, None] + dx
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    length = sum(h * w for h, w in sizes)
    places = torch.where(inside, pixels[:, None] + dy * width + dx, length)
    return images[:, None] * (length + 1) + places


def bilinear_rows(
    batch_indices: Tensor, levels: Tensor, points: Tensor, sizes: Sizes
) -> tuple[Tensor, Tensor]:
    """Rows, and weights with which they add up to bilinear samples.

    The border is that of ``mmcv.ops.RoIAlign``: values continue for one pixel
    beyond the centres of the outermost pixels, and are zero beyond that.

    Args:
        batch_indices: (P,) image of each instance.
        levels: (P,) level that each instance reads.
        points: (P, M, 2) as (x, y), in pixels of that level; the centre of
            its upper left pixel is (0, 0). NaN reads zero.
        sizes: the levels' heights and widths.

    Returns:
        rows of :func:`flatten_pyramid` and weights, both (P, M, 4).
    """
    table = _table(sizes, batch_indices)
    lengths = table.prod(1)
    starts = (lengths.cumsum(0) - lengths)[levels]
    starts = starts + batch_indices * (lengths.sum() + 1)
    height, width = table[levels, 0, None], table[levels, 1, None]
    columns, across = _neighbours(points[..., 0], width)
    rows, down = _neighbours(points[..., 1], height)
    rows = starts[:, None, None] + rows * width[..., None]
    rows = rows[..., :, None] + columns[..., None, :]
    weights = down[..., :, None] * across[..., None, :]
    return rows.flatten(2), weights.flatten(2)


def sample_map(
    images: Tensor, batch_indices: Tensor, points: Tensor
) -> Tensor:
    """Bilinear samples of one map of each image, which is not copied.

    The border is that of :func:`bilinear_rows`.

    Args:
        images: (N, C, H, W).
        batch_indices: (P,) image of each instance.
        points: (P, M, 2) as (x, y), in pixels of the map, as for
            :func:`bilinear_rows`.

    Returns:
        (P, C, M), in single precision at least.
    """
    tall = images.transpose(0, 1).flatten(1, 2)[None]  # one below the other
    height, width = _table(pyramid_sizes([images]), batch_indices)[0]
    sides = torch.stack([width, height])
    whole = _table(pyramid_sizes([tall]), batch_indices)[0].flip(0)
    inside = ((points >= -1) & (points <= sides)).all(dim=-1)
    places = points.nan_to_num().clamp(min=0).minimum((sides - 1).to(points))
    first_row = torch.stack([0 * batch_indices, batch_indices * height], dim=1)
    places = places + first_row[:, None]
    grid = (2 * places + 1) / whole - 1
    dtype = torch.promote_types(images.dtype, torch.float32)
    sampled = F.grid_sample(
        tall.to(dtype),
        grid[None].to(dtype),
        padding_mode='border',
        align_corners=False,
    )
    return sampled[0].transpose(0, 1) * inside[:, None]


def _neighbours(places: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """The two pixels around each place on one axis, and their weights.

    Args:
        places: (P, M) in pixels. length: (P, 1) of the axis.

    Returns:
        pixels and weights, both (P, M, 2).
    """
    inside = (places >= -1) & (places <= length)
    last = length - 1
    places = places.nan_to_num().clamp(min=0).minimum(last.to(places))
    low = places.floor().long()
    pixels = torch.stack([low, torch.minimum(low + 1, last)], dim=-1)
    share = places - low
    weights = torch.stack([1 - share, share], dim=-1)
    return pixels, weights * inside[..., None]
