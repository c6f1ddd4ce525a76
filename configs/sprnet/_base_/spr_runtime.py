# The names differ from MMDetection's, so that a config can inherit both this
# file and one of its configs.
spr_imports = dict(imports=['projects.sprnet'])
# Default hooks, because a config's own custom_hooks replace inherited ones
spr_hooks = dict(
    checkpoint=dict(type='WholeCheckpointHook'),
    num_class_check=dict(type='NumClassCheckHook'),
    epoch_seed=dict(type='EpochSeedHook'),
    finite_loss=dict(type='FiniteLossHook'),
    schedule_end=dict(type='ScheduleEndHook'),
    checkpoint_match=dict(type='CheckpointMatchHook'),
    evaluation_file=dict(type='EvaluationFileHook'),
    preemption=dict(type='PreemptionHook'),
    run_summary=dict(type='RunSummaryHook'),
    # Without it, evaluations make dense masks.
    run_lengths=dict(type='RunLengthsHook'),
    visualization=dict(type='FolderVisualizationHook'),
)
# Seconds after which ranks give up on one that hangs. It must exceed an
# evaluation, for which the others wait.
spr_env = dict(dist_cfg=dict(timeout=600))
# For tools/test.py --tta; mmdet's own model cannot merge masks.
spr_tta = dict(
    type='MaskTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
)
