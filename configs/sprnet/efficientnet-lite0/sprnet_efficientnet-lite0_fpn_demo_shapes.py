_base_ = [
    '../_base_/models/sprnet_efficientnet-lite0_fpn.py',
    '../_base_/datasets/shapes-192.py',
    '../_base_/schedules/schedule_shapes.py',
    '../_base_/own_runtime.py',
]
model = dict(bbox_head=dict(num_classes=6))
max_epochs = 3
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [_base_.warmup, dict(end=max_epochs, **_base_.cosine)]
