"""SPRNet for MMDetection.

Importing this package registers the types that configs name, and lets
mmengine load checkpoints without running code that they may carry.
"""

from .box_grid import BoxGrid
from .decoder import ShortcutPixelDecoder, SinglePixelDecoder
from .encoders import ConsecutiveConvs, MultiScaleFusion
from .gfpn import GFPN, PooledGFPN
from .pasting import DenseMasks
from .rle import RLEMasks
from .runtime import allow_mmengine_checkpoints
from .samplers import (
    EveryObjectLocationSampler,
    JitteredBoxSampler,
    OverlapLocationSampler,
)
from .spr_head import SPRHead
from .sprnet import FrozenSPRNet, SPRNet

__all__ = [
    'BoxGrid',
    'ConsecutiveConvs',
    'DenseMasks',
    'EveryObjectLocationSampler',
    'FrozenSPRNet',
    'GFPN',
    'JitteredBoxSampler',
    'MultiScaleFusion',
    'OverlapLocationSampler',
    'PooledGFPN',
    'RLEMasks',
    'SPRHead',
    'SPRNet',
    'ShortcutPixelDecoder',
    'SinglePixelDecoder',
]

allow_mmengine_checkpoints()
