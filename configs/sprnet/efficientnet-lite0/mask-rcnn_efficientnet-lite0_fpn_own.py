_base_ = [
    '../_base_/models/mask-rcnn_efficientnet-lite0_fpn.py',
    '../_base_/datasets/own.py',
    '../_base_/schedules/schedule_own.py',
    '../_base_/own_runtime.py',
]
# Without this, an object without a mask would train an empty mask.
train_dataloader = dict(dataset=dict(require_masks=True))
