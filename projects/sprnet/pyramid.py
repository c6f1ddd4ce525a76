"""Pure functions on the locations of a feature pyramid.

Shape letters: see :mod:`.structures`.
"""

from collections.abc import Sequence
from itertools import accumulate, chain

import torch
from torch import Tensor

from .structures import moved

Sizes = Sequence[tuple[int, int]]  # (H_l, W_l) of each level


def pyramid_sizes(levels: Sequence[Tensor]) -> list[tuple[int, int]]:
    """Return (H_l, W_l) of each level."""
    return [tuple(level.shape[-2:]) for level in levels]


def flatten_pyramid(levels: Sequence[Tensor]) -> Tensor:
    """Lay out a pyramid as rows.

    Args:
        levels: (N, C, H_l, W_l) of each.

    Returns:
        (N * L, C). Location p of picture n is row n * L + p.
    """
    rows = [level.flatten(2).transpose(1, 2) for level in levels]
    return torch.cat(rows, dim=1).flatten(0, 1)


def number_table(rows: Sequence[Sequence[float]], like: Tensor) -> Tensor:
    """Return a table of numbers with the dtype and device of ``like``.

    A GPU does not wait for it.
    """
    # A list of lists would become a constant of a traced graph.
    numbers = [torch.scalar_tensor(x, dtype=like.dtype) for x in chain(*rows)]
    return moved(torch.stack(numbers).view(len(rows), -1), like.device)


def level_starts(sizes: Sizes) -> list[int]:
    """The first location of each level, and the end of the last."""
    return [0, *accumulate(height * width for height, width in sizes)]


def locate(locations: Tensor, sizes: Sizes) -> tuple[Tensor, Tensor, Tensor]:
    """Find the place of locations in their levels.

    Args:
        locations: (P,).
        sizes: Height and width of each level.

    Returns:
        The level of each (P,), its place there (P, 2) as (y, x), and the
        level's height and width (P, 2).
    """
    heights, widths = zip(*sizes)
    starts = level_starts(sizes)
    table = number_table(
        [starts[1:], starts[:-1], widths, [1] * len(sizes), heights, widths],
        locations,
    )
    level = torch.bucketize(locations, table[0], right=True)
    fields = table[1:, level].T
    start, steps, size = fields.split([1, 2, 2], dim=1)
    return level, (locations[:, None] - start) // steps % size, size


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
    pictures: Tensor, locations: Tensor, sizes: Sizes, offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the rows that a convolution's window around each location reads.

    Args:
        pictures: (P,) picture of each location.
        locations: (P,).
        sizes: Height and width of each level.
        offsets: (T, 2) of the taps, see :func:`window_offsets`.

    Returns:
        (P, T) rows of :func:`flatten_pyramid`, and whether the taps are inside
        of the location's level (P, T). The rows of others are 0.
    """
    _, place, size = locate(locations, sizes)
    taps = place[:, None] + offsets
    inside = (taps // size[:, None] == 0).all(dim=-1)
    dy, dx = offsets.unbind(1)
    rows = torch.addcmul(dx, dy, size[:, 1:]) + locations[:, None]
    rows = torch.add(rows, pictures[:, None], alpha=level_starts(sizes)[-1])
    return rows * inside, inside
