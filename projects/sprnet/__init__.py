"""SPRNet: importing this package registers what its configs name."""

from .bfloat16 import BFloat16OptimWrapper
from .channels_last import ChannelsLastHook
from .checkpoints import allow_mmengine_checkpoints
from .datasets import CheckedCocoDataset
from .decoder import ShortcutPixelDecoder, SinglePixelDecoder
from .encoders import BoxGrid, ConsecutiveConvs, MultiScaleFusion
from .finite_loss import FiniteLossHook
from .frozen_sprnet import FrozenSPRNet
from .gfpn import GFPN, PooledGFPN
from .gradient_flow import GradientFlowHook
from .hooks import EpochSeedHook
from .mask_outputs import DenseMasks, RLEMasks
from .metrics import CocoAPARMetric
from .samplers import (
    EveryObjectPixelSampler,
    JitteredBoxSampler,
    OverlapPixelSampler,
)
from .spr_head import SPRHead
from .sprnet import SPRNet
from .tta import MaskTTAModel
from .whole_checkpoints import WholeCheckpointHook, WholeFileBackend

__all__ = [
    'BFloat16OptimWrapper',
    'BoxGrid',
    'ChannelsLastHook',
    'CheckedCocoDataset',
    'CocoAPARMetric',
    'ConsecutiveConvs',
    'DenseMasks',
    'EpochSeedHook',
    'EveryObjectPixelSampler',
    'FiniteLossHook',
    'FrozenSPRNet',
    'GFPN',
    'GradientFlowHook',
    'JitteredBoxSampler',
    'MaskTTAModel',
    'MultiScaleFusion',
    'OverlapPixelSampler',
    'PooledGFPN',
    'RLEMasks',
    'SPRHead',
    'SPRNet',
    'ShortcutPixelDecoder',
    'SinglePixelDecoder',
    'WholeCheckpointHook',
    'WholeFileBackend',
]

allow_mmengine_checkpoints()
