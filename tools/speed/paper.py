"""The rows of the paper's Table 2 that give a speed."""

from typing import NamedTuple

from .subjects import CONFIGS, DEFAULT


class Row(NamedTuple):
    """A model of the paper, and what stands for it here."""

    config: str
    size: tuple[int, int]  # largest short side and long side of the input
    fps: float  # images per second in the paper


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
BASE = 'Mask R-CNN R50, 800'  # its time is 1 in the report
