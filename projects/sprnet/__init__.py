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
from .runtime.atomic_checkpoints import WholeCheckpointHook, WholeFileBackend
from .runtime.batch_resize import MaskBatchSyncRandomResize
from .runtime.checkpoint_match import CheckpointMatchHook
from .runtime.datasets import CheckedCocoDataset
from .runtime.efficientnet_lite import EfficientNetLite0
from .runtime.epoch_seed import EpochSeedHook
from .runtime.evaluation_file import EvaluationFileHook
from .runtime.finite_loss import FiniteLossHook
from .runtime.gradient_flow import GradientFlowHook
from .runtime.metrics import CocoAPARMetric
from .runtime.precision import BFloat16OptimWrapper, ChannelsLastHook
from .runtime.preemption import PreemptionHook
from .runtime.run_summary import RunSummaryHook
from .runtime.safe_loading import allow_mmengine_checkpoints
from .runtime.schedule_end import ScheduleEndHook
from .runtime.soft_label_assigner import CompactSoftLabelAssigner
from .runtime.tta import MaskTTAModel
from .runtime.visualization import FolderVisualizationHook, FolderVisualizer
from .samplers import (
    EveryObjectLocationSampler,
    JitteredBoxSampler,
    OverlapLocationSampler,
)
from .spr_head import SPRHead
from .sprnet import FrozenSPRNet, SPRNet

__all__ = [
    'BFloat16OptimWrapper',
    'BoxGrid',
    'ChannelsLastHook',
    'CheckedCocoDataset',
    'CheckpointMatchHook',
    'CocoAPARMetric',
    'CompactSoftLabelAssigner',
    'ConsecutiveConvs',
    'DenseMasks',
    'EfficientNetLite0',
    'EpochSeedHook',
    'EvaluationFileHook',
    'EveryObjectLocationSampler',
    'FiniteLossHook',
    'FolderVisualizationHook',
    'FolderVisualizer',
    'FrozenSPRNet',
    'GFPN',
    'GradientFlowHook',
    'JitteredBoxSampler',
    'MaskBatchSyncRandomResize',
    'MaskTTAModel',
    'MultiScaleFusion',
    'OverlapLocationSampler',
    'PooledGFPN',
    'PreemptionHook',
    'RLEMasks',
    'RunSummaryHook',
    'SPRHead',
    'SPRNet',
    'ScheduleEndHook',
    'ShortcutPixelDecoder',
    'SinglePixelDecoder',
    'WholeCheckpointHook',
    'WholeFileBackend',
]

allow_mmengine_checkpoints()
