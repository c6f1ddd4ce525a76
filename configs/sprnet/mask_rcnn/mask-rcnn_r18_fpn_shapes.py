_base_ = [
    '../_base_/models/mask-rcnn_r18_fpn.py',
    '../_base_/datasets/shapes-192.py',
    '../_base_/schedules/schedule_shapes.py',
    '../_base_/default_runtime.py',
]
# Without this, an object without a mask would train an empty mask.
train_dataloader = dict(dataset=dict(require_masks=True))
