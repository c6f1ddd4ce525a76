"""Boxes that masks are read from and put into, as pure functions.

Boxes are (x1, y1, x2, y2) in pixels.
"""

import torch
from torch import Tensor


def enlarged(boxes: Tensor, factor: float) -> Tensor:
    """Boxes (n, 4) with their sides times ``factor``, around their centres;
    with a factor of 1 the same to the last bit."""
    if factor == 1:
        return boxes
    reach = (boxes[:, 2:] - boxes[:, :2]) * ((factor - 1) / 2)
    return boxes + torch.cat([-reach, reach], dim=1)


def jittered(boxes: Tensor, std: float) -> Tensor:
    """Boxes as a detector may give them: each edge moved at random.

    Args:
        boxes: (n, 4).
        std: standard deviation of an edge's shift, as a share of the box's
            side; shifts are cut at twice that, so that below 0.25 no box turns
            inside out.

    Returns:
        (n, 4).
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + std * sides * torch.randn_like(boxes).clamp(-2, 2)


def levels_by_size(
    boxes: Tensor, finest_scale: float, num_levels: int
) -> Tensor:
    """The pyramid level that fits each box, as Mask R-CNN chooses it.

    Args:
        boxes: (n, 4).
        finest_scale: boxes of a side below twice this are of level 0, and
            each doubling is one level more; the side is the root of the area.

    Returns:
        (n,) in 0..num_levels - 1; 0 for a box without area or of NaN.
    """
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    scale = sides.prod(dim=1).sqrt() / finest_scale
    levels = scale.clamp(min=1).nan_to_num(1).log2().floor()
    return levels.clamp(max=num_levels - 1).long()


def grid_points(boxes: Tensor, side: int) -> Tensor:
    """Centres of the cells of a grid that fills each box.

    Args:
        boxes: (n, 4).
        side: cells on each axis.

    Returns:
        (n, side * side, 2) as (x, y), row by row.
    """
    centres = torch.arange(side, device=boxes.device) + 0.5
    shares = centres.to(boxes) / side
    corner, sides = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
    y, x = torch.meshgrid(shares, shares, indexing='ij')
    return corner + sides * torch.stack([x, y], dim=-1).flatten(0, 1)
