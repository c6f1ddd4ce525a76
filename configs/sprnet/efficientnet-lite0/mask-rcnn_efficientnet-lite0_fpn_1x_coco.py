_base_ = [
    '../_base_/models/mask-rcnn_efficientnet-lite0_fpn.py',
    '../_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]
# Without this, an object without a mask would train an empty mask.
train_dataloader = dict(dataset=dict(require_masks=True))
