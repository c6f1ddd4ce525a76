_base_ = ['mmdet::gfl/gfl_r50_fpn_1x_coco.py', '../_base_/add_spr.py']
model = dict(type='SPRNet', mask_head=_base_.location_masks)
train_dataloader = _base_.with_masks
val_dataloader = test_dataloader = _base_.checked_data
val_evaluator = test_evaluator = _base_.boxes_and_masks
custom_imports = _base_.spr_imports
default_hooks = _base_.spr_hooks
env_cfg = _base_.spr_env
tta_model = _base_.spr_tta
