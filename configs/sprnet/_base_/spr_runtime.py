custom_imports = dict(imports=['projects.sprnet'])
custom_hooks = [
    dict(type='NumClassCheckHook'),
    dict(type='EpochSeedHook'),
    dict(type='FiniteLossHook'),
]
# Of tools/test.py --tta: the default is mmdet's, which has no masks
tta_model = dict(
    type='MaskTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100),
)
