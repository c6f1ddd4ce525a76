_base_ = [
    '../_base_/models/rtmdet-ins_tiny.py',
    '../_base_/datasets/shapes-192.py',
    '../_base_/schedules/schedule_shapes.py',
    '../_base_/default_runtime.py',
]
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [_base_.warmup, dict(end=max_epochs, **_base_.cosine)]
