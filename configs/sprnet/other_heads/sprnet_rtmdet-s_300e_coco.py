# Trains as RTMDet-Ins, whose pipeline moves the masks with the image
_base_ = [
    'mmdet::rtmdet/rtmdet-ins_s_8xb32-300e_coco.py',
    '../_base_/add_spr.py',
    '../_base_/models/rtmdet_head.py',
]
model = dict(
    type='SPRNet',
    bbox_head=dict(in_channels=128, feat_channels=128, **_base_.rtmdet_head),
    mask_head=dict(
        _base_.location_masks,
        anchor_generator=dict(_base_.paper_anchors, strides=[8, 16, 32]),
    ),
    # For images with hundreds of objects
    train_cfg=dict(assigner=dict(type='CompactSoftLabelAssigner')),
)
train_dataloader = _base_.checked_training
val_dataloader = test_dataloader = _base_.checked_data
val_evaluator = test_evaluator = _base_.boxes_and_masks
custom_imports = _base_.spr_imports
default_hooks = _base_.spr_hooks
env_cfg = _base_.spr_env
tta_model = _base_.spr_tta
