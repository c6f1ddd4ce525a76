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

import torch
import torch.nn.functional as F
from torch import Tensor

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


def size_table(sizes: Sizes, like: Tensor) -> Tensor:
    """Return (levels, 2) with the dtype and device of ``like``."""
    # A list of lists would become a constant of a traced graph, and a GPU
    # would wait to copy it.
    sides = [
        torch.scalar_tensor(side, dtype=like.dtype, device=like.device)
        for size in sizes
        for side in size
    ]
    return torch.stack(sides).view(-1, 2)


def locate(pixels: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor, Tensor]:
    """Return level, row and column of pixels, each of the pixels' shape."""
    return _locate(pixels, size_table(sizes, pixels))


def _locate(pixels: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    ends = table.prod(1).cumsum(0)
    level = torch.bucketize(pixels, ends, right=True)
    within_level = pixels - (ends - table.prod(1))[level]
    width = table[level, 1]
    return level, within_level // width, within_level % width


def window_rows(
    batch_indices: Tensor,
    pixels: Tensor,
    sizes: Sizes,
    kernel: int,
    dilation: int,
) -> Tensor:
    """Return the rows that a convolution's window around each pixel reads.

    Args:
        batch_indices: (P,) image of each pixel.
        pixels: (P,) pixels of the pyramid.
        sizes: Height and width of each level.
        kernel: Side of the window, odd.
        dilation: Distance between neighbouring taps.

    Returns:
        (P, kernel * kernel) rows of :func:`flatten_pyramid`, in the order of a
        convolution's weights. Taps outside of the pixel's level read zeros.
    """
    table = size_table(sizes, pixels)
    level, y, x = _locate(pixels, table)
    height, width = table[level, 0, None], table[level, 1, None]
    reach = torch.arange(kernel, device=pixels.device) - kernel // 2
    dy, dx = torch.meshgrid(reach * dilation, reach * dilation, indexing='ij')
    dy, dx = dy.flatten(), dx.flatten()
    y, x = y[:, None] + dy, x[:, None] + dx
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
    table = size_table(sizes, batch_indices)
    lengths = table.prod(1)
    starts = (lengths.cumsum(0) - lengths)[levels]
    starts = starts + batch_indices * (lengths.sum() + 1)
    height, width = table[levels, 0, None], table[levels, 1, None]
    columns, x_weights = _neighbours(points[..., 0], width)
    rows, y_weights = _neighbours(points[..., 1], height)
    rows = starts[:, None, None] + rows * width[..., None]
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
    height, width = size_table(pyramid_sizes([feat]), batch_indices)[0]
    sides = torch.stack([width, height])
    extent = size_table(pyramid_sizes([column]), batch_indices)[0].flip(0)
    inside = ((points >= -1) & (points <= sides)).all(dim=-1)
    points = points.nan_to_num().clamp(min=0).minimum((sides - 1).to(points))
    offset = torch.stack([0 * batch_indices, batch_indices * height], dim=1)
    points = points + offset[:, None]
    grid = (2 * points + 1) / extent - 1
    dtype = torch.promote_types(feat.dtype, torch.float32)
    sampled = F.grid_sample(
        column.to(dtype),
        grid[None].to(dtype),
        padding_mode='border',
        align_corners=False,
    )
    return sampled[0].transpose(0, 1) * inside[:, None]


def _neighbours(points: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two pixels around each point on an axis, and their weights.

    Args:
        points: (P, M) in pixels.
        length: (P, 1) of the axis.

    Returns:
        Pixels and weights, both (P, M, 2).
    """
    inside = (points >= -1) & (points <= length)
    last = length - 1
    points = points.nan_to_num().clamp(min=0).minimum(last.to(points))
    low = points.floor().long()
    pixels = torch.stack([low, torch.minimum(low + 1, last)], dim=-1)
    share = points - low
    weights = torch.stack([1 - share, share], dim=-1)
    return pixels, weights * inside[..., None]
