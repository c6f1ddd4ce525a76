# Trains masks that are read at the box on a frozen detector
_base_ = [
    '../sprnet_r18_gfpn_9-epochs_shapes.py',
    '../_base_/models/box_encoder_r18.py',
]
model = dict(
    type='FrozenSPRNet',
    mask_head=dict(
        # Most time goes into the frozen features, so more boxes are cheap.
        sampler=dict(copies=3, **_base_.read_at_the_box.sampler),
        encoder=_base_.read_at_the_box.encoder,
    ),
)
load_from = 'work_dirs/sprnet_r18_gfpn_9-epochs_shapes/epoch_9.pth'
train_dataloader = dict(batch_size=16)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
max_epochs = 3
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [_base_.warmup, dict(end=max_epochs, **_base_.cosine)]
