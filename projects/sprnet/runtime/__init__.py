"""Hooks, data and metrics that would serve any detector."""

from .atomic_checkpoints import WholeCheckpointHook, WholeFileBackend
from .batch_resize import MaskBatchSyncRandomResize
from .checkpoint_match import CheckpointMatchHook
from .datasets import CheckedCocoDataset
from .efficientnet_lite import EfficientNetLite0
from .epoch_seed import EpochSeedHook
from .evaluation_file import EvaluationFileHook
from .finite_loss import FiniteLossHook
from .gradient_flow import GradientFlowHook
from .metrics import CocoAPARMetric
from .precision import BFloat16OptimWrapper, ChannelsLastHook
from .preemption import PreemptionHook
from .run_lengths import RunLengthsHook
from .run_summary import RunSummaryHook
from .safe_loading import allow_mmengine_checkpoints
from .schedule_end import ScheduleEndHook
from .soft_label_assigner import CompactSoftLabelAssigner
from .tta import MaskTTAModel
from .visualization import FolderVisualizationHook, FolderVisualizer

__all__ = [
    'BFloat16OptimWrapper',
    'ChannelsLastHook',
    'CheckedCocoDataset',
    'CheckpointMatchHook',
    'CocoAPARMetric',
    'CompactSoftLabelAssigner',
    'EfficientNetLite0',
    'EpochSeedHook',
    'EvaluationFileHook',
    'FiniteLossHook',
    'FolderVisualizationHook',
    'FolderVisualizer',
    'GradientFlowHook',
    'MaskBatchSyncRandomResize',
    'MaskTTAModel',
    'PreemptionHook',
    'RunLengthsHook',
    'RunSummaryHook',
    'ScheduleEndHook',
    'WholeCheckpointHook',
    'WholeFileBackend',
    'allow_mmengine_checkpoints',
]
