# Named apart from what a config of MMDetection has, so that it can be inherited
# beside one
spr_imports = dict(imports=['projects.sprnet'])
# Among the default hooks, because a config's own custom_hooks replace any that
# it inherits
spr_hooks = dict(
    checkpoint=dict(type='WholeCheckpointHook'),
    num_class_check=dict(type='NumClassCheckHook'),
    epoch_seed=dict(type='EpochSeedHook'),
    finite_loss=dict(type='FiniteLossHook'),
)
# For tools/test.py --tta, because mmdet's own model drops masks
spr_tta = dict(
    type='MaskTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
)
