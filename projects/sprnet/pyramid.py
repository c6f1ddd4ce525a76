"""Pure functions on the pixels of a feature pyramid.

A pyramid is a list of feature maps, finest level first. One index names a
pixel of the pyramid: the levels of an image are laid end to end, each row by
row. MMDetection's anchors have the same order.

Shape letters in this package:

    N  images of a batch
    C  channels
    L  pixels of an image's pyramid: the sum of H_l * W_l over the levels l
    A  anchors of a pixel
    G  ground-truth objects of an image
    P  instances; each has a chosen pixel, a box and a mask
    Q  distinct vectors that encode P instances
    K  classes
    S  side of a mask, in cells
"""

from collections.abc import Sequence
from itertools import accumulate, chain

import torch
import torch.nn.functional as F
from torch import Tensor

from .moving import moved

Sizes = Sequence[tuple[int, int]]  # (H_l, W_l) of each level


def pyramid_sizes(feats: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Return (H_l, W_l) of each level."""
    return [tuple(feat.shape[-2:]) for feat in feats]


def flatten_pyramid(feats: Sequence[Tensor]) -> Tensor:
    """Lay out a pyramid as rows, followed by a row of zeros for each image.

    Args:
        feats: (N, C, H_l, W_l) of each level.

    Returns:
        (N * (L + 1), C). Pixel p of image n is row n * (L + 1) + p. Row
        n * (L + 1) + L is zero; windows read it outside of a level.
    """
    levels = [feat.flatten(2).transpose(1, 2) for feat in feats]
    zeros = levels[0].new_zeros(levels[0].shape[0], 1, levels[0].shape[2])
    return torch.cat([*levels, zeros], dim=1).flatten(0, 1)


def number_table(rows: Sequence[Sequence[int]], like: Tensor) -> Tensor:
    """Return a table of numbers with the dtype and device of ``like``.

    A GPU does not wait for it.
    """
    # A list of lists would become a constant of a traced graph.
    numbers = [torch.scalar_tensor(x, dtype=like.dtype) for x in chain(*rows)]
    return moved(torch.stack(numbers).view(len(rows), -1), like.device)


def _level_table(sizes: Sizes, like: Tensor) -> Tensor:
    """(4, levels): end, start, height and width of each level."""
    heights, widths = zip(*sizes)
    ends = list(accumulate(height * width for height, width in sizes))
    return number_table([ends, [0, *ends[:-1]], heights, widths], like)


def locate(pixels: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor, Tensor]:
    """Return level, row and column of pixels, each of the pixels' shape."""
    return _locate(pixels, sizes)[:3]


def _locate(pixels: Tensor, sizes: Sizes) -> tuple[Tensor, ...]:
    """Level, row and column of pixels, height and width of their levels."""
    table = _level_table(sizes, pixels)
    level = torch.bucketize(pixels, table[0], right=True)
    start, height, width = table[1:, level].unbind()
    within_level = pixels - start
    return level, within_level // width, within_level % width, height, width


def window_offsets(kernel: int, dilation: int) -> Tensor:
    """Return the offsets of a convolution's taps from its centre.

    Args:
        kernel: Side of the window, odd.
        dilation: Distance between neighbouring taps.

    Returns:
        (kernel * kernel, 2) as (y, x), in the order of the weights.
    """
    reach = (torch.arange(kernel) - kernel // 2) * dilation
    return torch.cartesian_prod(reach, reach)


def window_rows(
    batch_indices: Tensor, pixels: Tensor, sizes: Sizes, offsets: Tensor
) -> Tensor:
    """Return the rows that a convolution's window around each pixel reads.

    Args:
        batch_indices: (P,) image of each pixel.
        pixels: (P,) pixels of the pyramid.
        sizes: Height and width of each level.
        offsets: (T, 2) of the taps, see :func:`window_offsets`.

    Returns:
        (P, T) rows of :func:`flatten_pyramid`. Taps outside of the pixel's
        level read zeros.
    """
    _, *located = _locate(pixels, sizes)
    y, x, height, width = (field[:, None] for field in located)
    dy, dx = offsets.unbind(1)
    y, x = y + dy, x + dx
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    length = sum(h * w for h, w in sizes)
    taps = torch.where(inside, pixels[:, None] + dy * width + dx, length)
    return batch_indices[:, None] * (length + 1) + taps


def bilinear_rows(
    batch_indices: Tensor, levels: Tensor, points: Tensor, sizes: Sizes
) -> tuple[Tensor, Tensor]:
    """Return rows and weights whose weighted sums are bilinear samples.

    The border is treated as in ``mmcv.ops.RoIAlign``: values continue for one
    pixel beyond the centres of the outermost pixels, and are zero further out.

    Args:
        batch_indices: (P,) image of each instance.
        levels: (P,) level that each instance reads.
        points: (P, M, 2) as (x, y), in pixels of that level; (0, 0) is the
            centre of the upper left pixel. NaN reads zero.
        sizes: Height and width of each level.

    Returns:
        Rows of :func:`flatten_pyramid` and weights, both (P, M, 4).
    """
    table = _level_table(sizes, batch_indices)
    start, height, width = table[1:, levels].unbind()
    length = sum(h * w for h, w in sizes)
    start = start + batch_indices * (length + 1)
    sides = torch.stack([width, height], dim=1)
    pixels, weights = _neighbours(points, sides[:, None])
    (columns, rows), (x_weights, y_weights) = (
        field.unbind(2) for field in (pixels, weights)
    )
    rows = start[:, None, None] + rows * width[:, None, None]
    rows = rows[..., :, None] + columns[..., None, :]
    weights = y_weights[..., :, None] * x_weights[..., None, :]
    return rows.flatten(2), weights.flatten(2)


def sample_map(feat: Tensor, batch_indices: Tensor, points: Tensor) -> Tensor:
    """Sample one feature map bilinearly, with :func:`bilinear_rows`'s border.

    The map of an image is not copied for each of its instances.

    Args:
        feat: (N, C, H, W).
        batch_indices: (P,) image of each instance.
        points: (P, M, 2) as (x, y), in pixels of the map, as for
            :func:`bilinear_rows`.

    Returns:
        (P, C, M), in float32 or wider.
    """
    # One image below the other, so that a single call samples all of them
    column = feat.transpose(0, 1).flatten(1, 2)[None]
    height, width = feat.shape[2:]
    sides, last, extent, step = number_table(
        [
            [width, height],
            [width - 1, height - 1],
            [width, column.shape[2]],
            [0, height],
        ],
        batch_indices,
    )
    inside = ((points >= -1) & (points <= sides)).all(dim=-1)
    points = points.nan_to_num().clamp(min=0).minimum(last.to(points))
    points = points + (batch_indices[:, None] * step)[:, None]
    grid = (2 * points + 1) / extent - 1
    dtype = torch.promote_types(feat.dtype, torch.float32)
    sampled = F.grid_sample(
        column.to(dtype),
        grid[None].to(dtype),
        padding_mode='border',
        align_corners=False,
    )
    return sampled[0].transpose(0, 1) * inside[:, None]


def _neighbours(points: Tensor, sides: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two pixels around points on each axis, and their weights.

    Args:
        points: (P, M, 2) as (x, y), in pixels.
        sides: (P, 1, 2), width and height of the map.

    Returns:
        Pixels and weights, both (P, M, 2, 2); the third axis is (x, y).
    """
    inside = (points >= -1) & (points <= sides)
    last = sides - 1
    points = points.nan_to_num().clamp(min=0).minimum(last.to(points))
    low = points.floor().long()
    pixels = torch.stack([low, torch.minimum(low + 1, last)], dim=-1)
    share = points - low
    weights = torch.stack([1 - share, share], dim=-1)
    return pixels, weights * inside[..., None]
