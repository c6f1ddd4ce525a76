"""Pure functions on boxes, (x1, y1, x2, y2) in pixels."""

import torch
from torch import Tensor

from .moving import moved


def enlarged(boxes: Tensor, factor: float) -> Tensor:
    """Scale the sides of boxes (n, 4) around their centres.

    A factor of 1 returns the boxes unchanged, to the last bit.
    """
    if factor == 1:
        return boxes
    reach = (boxes[:, 2:] - boxes[:, :2]) * ((factor - 1) / 2)
    return boxes + torch.cat([-reach, reach], dim=1)


def scaled(boxes: Tensor, factors: tuple[float, float]) -> Tensor:
    """Multiply boxes (n, 4) by a factor for x and one for y.

    As mmdet's ``scale_boxes`` does, which moves the factors to a GPU and makes
    it wait.
    """
    corners = boxes.unflatten(1, (2, 2)).unbind(2)
    products = [xs * factor for xs, factor in zip(corners, factors)]
    return torch.stack(products, dim=2).flatten(1)


def jittered(boxes: Tensor, std: float) -> Tensor:
    """Shift each edge of boxes at random, to imitate a detector's errors.

    Args:
        boxes: (n, 4).
        std: Standard deviation of an edge's shift, as a fraction of the box's
            side. Shifts are clipped at two deviations, so below 0.25 no box
            turns inside out.

    Returns:
        (n, 4).
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + std * sides * torch.randn_like(boxes).clamp(-2, 2)


def levels_by_size(
    boxes: Tensor, finest_scale: float, num_levels: int
) -> Tensor:
    """Select a pyramid level for each box by its size, as Mask R-CNN does.

    Args:
        boxes: (n, 4).
        finest_scale: Boxes of a size below twice this are on level 0, and
            each doubling adds a level. The size is the root of the area.
        num_levels: Number of levels.

    Returns:
        (n,) in 0..num_levels - 1; 0 for empty and NaN boxes.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    scale = sides.prod(dim=1).sqrt() / finest_scale
    levels = scale.clamp(min=1).nan_to_num(1).log2().floor()
    return levels.clamp(max=num_levels - 1).long()


def grid_points(boxes: Tensor, side: int) -> Tensor:
    """Return the centres of the cells of a grid that fills each box.

    Args:
        boxes: (n, 4).
        side: Number of cells on each axis.

    Returns:
        (n, side * side, 2) as (x, y), row by row.
    """
    shares = (torch.arange(side, dtype=boxes.dtype) + 0.5) / side
    shares = torch.cartesian_prod(shares, shares).flip(1)
    shares = moved(shares, boxes.device)
    corner, sides = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
    return corner + sides * shares
