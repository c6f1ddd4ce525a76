_base_ = [
    'mmdet::pvt/retinanet_pvtv2-b0_fpn_1x_coco.py',
    '../_base_/add_spr.py',
]
model = dict(type='SPRNet', neck=dict(type='GFPN'), mask_head=_base_.spr_head)
train_dataloader = _base_.with_masks
val_dataloader = _base_.checked_data
test_dataloader = val_dataloader
val_evaluator = _base_.boxes_and_masks
test_evaluator = val_evaluator
custom_imports = _base_.spr_imports
default_hooks = _base_.spr_hooks
env_cfg = _base_.spr_env
tta_model = _base_.spr_tta
