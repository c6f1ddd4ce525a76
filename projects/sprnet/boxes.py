"""Pure functions on boxes, (x1, y1, x2, y2) in pixels."""

import torch
from torch import Tensor


def enlarged(boxes: Tensor, factor: float) -> Tensor:
    """Scale the sides of boxes (n, 4) around their centres.

    A factor of 1 returns the boxes unchanged, to the last bit.
    """
    if factor == 1:
        return boxes
    reach = (boxes[:, 2:] - boxes[:, :2]) * ((factor - 1) / 2)
    return boxes + torch.cat([-reach, reach], dim=1)


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
