"""The paper's speed column (Table 2), as ratios."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from .clock import in_turns
from .latency import once
from .subjects import CONFIGS, DEFAULT, Subject, build, prepare, read_config


class Row(NamedTuple):
    """A row of the paper's, and what it is measured with here."""

    config: str
    size: tuple[int, int]  # short and long side at most
    fps: float  # the paper's


R101_GFPN = CONFIGS / 'sprnet_r101_gfpn_paper-800_coco.py'
ROWS = {
    'SPRNet R50, 500': Row(DEFAULT['SPRNet-GFPN'], (500, 833), 10),
    'SPRNet R50, 800': Row(DEFAULT['SPRNet-GFPN'], (800, 1333), 9),
    'SPRNet R101, 800': Row(str(R101_GFPN), (800, 1333), 7),
    'Mask R-CNN R50, 800': Row(DEFAULT['Mask R-CNN'], (800, 1333), 7),
    'Mask R-CNN R101, 800': Row(
        'mmdet::mask_rcnn/mask-rcnn_r101_fpn_1x_coco.py', (800, 1333), 5
    ),
}


def paper_speeds(
    image: np.ndarray,
    device: torch.device,
    rounds: int,
    report: Callable[[str], None],
) -> dict[str, list[float]]:
    """Seconds of an image for each of ``ROWS``, round by round."""
    runs = {}
    for name, row in ROWS.items():
        report(f'building {name}')
        subject = Subject(name, build(read_config(row.config), device), device)
        prepare(subject, image, row.size)
        runs[name] = lambda s=subject, size=row.size: once(s, image, size, 1)
    return in_turns(runs, rounds, report)
