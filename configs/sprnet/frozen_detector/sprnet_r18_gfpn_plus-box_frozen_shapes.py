# The demo's detector, and masks that are read where their boxes are
_base_ = [
    '../sprnet_r18_gfpn_demo_shapes.py',
    '../_base_/models/box_encoder_r18.py',
]
model = dict(type='FrozenSPRNet', mask_head=_base_.read_at_the_box)
load_from = 'work_dirs/demo/epoch_9.pth'
train_dataloader = dict(batch_size=16)
max_epochs = 3
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [_base_.warmup, dict(end=max_epochs, **_base_.cosine)]
