"""Anchors and boxes of a small pyramid, and their overlap in plain Python."""

from collections.abc import Sequence

import torch
from mmdet.models.task_modules import AnchorGenerator
from torch import Tensor

SIZES = [(16, 12), (8, 6), (4, 3), (2, 2)]  # of 128 x 96 pixels


def anchors_of_locations() -> Tensor:
    """The paper's nine anchors of each location, (L, 9, 4)."""
    generator = AnchorGenerator(
        strides=[8, 16, 32, 64],
        octave_base_scale=4,
        scales_per_octave=3,
        ratios=[0.5, 1.0, 2.0],
    )
    return torch.cat(generator.grid_priors(SIZES, device='cpu')).view(-1, 9, 4)


def random_boxes(count: int) -> Tensor:
    """Boxes of many sizes, (count, 4)."""
    torch.manual_seed(0)
    centre, side = torch.rand(count, 2) * 110, torch.rand(count, 2) * 60 + 8
    return torch.cat([centre - side / 2, centre + side / 2], dim=1)


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """IoU of two boxes of positive area."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area - width * height)
