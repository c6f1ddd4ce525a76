# Trains masks that are read at the box on the demo's frozen detector
_base_ = [
    '../efficientnet-lite0/sprnet_efficientnet-lite0_gfpn_demo_shapes.py',
    '../_base_/models/box_encoder_efficientnet-lite0.py',
]
model = dict(
    type='FrozenSPRNet',
    mask_head=dict(
        # Most time goes into the frozen features, so more boxes are cheap.
        sampler=dict(copies=3, **_base_.read_at_the_box.sampler),
        encoder=_base_.read_at_the_box.encoder,
    ),
)
load_from = 'work_dirs/demo/epoch_3.pth'
train_dataloader = dict(batch_size=8)
optim_wrapper = dict(optimizer=dict(lr=4e-3))
