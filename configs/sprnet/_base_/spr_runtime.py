# These names are not MMDetection's, so that a config can inherit this file
# beside one of its configs.
spr_imports = dict(imports=['projects.sprnet'])
# They are default hooks, because a config's own custom_hooks replace the
# inherited ones.
spr_hooks = dict(
    checkpoint=dict(type='WholeCheckpointHook'),
    num_class_check=dict(type='NumClassCheckHook'),
    epoch_seed=dict(type='EpochSeedHook'),
    finite_loss=dict(type='FiniteLossHook'),
)
# For tools/test.py --tta: mmdet's own model refuses masks.
spr_tta = dict(
    type='MaskTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
)
