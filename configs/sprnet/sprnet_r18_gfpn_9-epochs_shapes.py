# sprnet_r18_gfpn_shapes.py for more epochs
_base_ = './sprnet_r18_gfpn_shapes.py'
max_epochs = 9
train_cfg = dict(max_epochs=max_epochs, val_interval=3)
param_scheduler = [_base_.warmup, dict(end=max_epochs, **_base_.cosine)]
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=2), visualization=dict(score_thr=0.5)
)
