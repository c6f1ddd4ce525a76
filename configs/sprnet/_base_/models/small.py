# Parts for training from scratch on a CPU: a ResNet-18 with half the channels,
# and a pyramid and heads of 64 channels
small_norm = dict(type='GN', num_groups=8)
small_backbone = dict(
    depth=18,
    base_channels=32,
    frozen_stages=-1,
    norm_eval=False,
    init_cfg=None,
)
small_neck = dict(
    in_channels=[32, 64, 128, 256], out_channels=64, norm_cfg=small_norm
)
small_dense_head = dict(
    num_classes=6,
    in_channels=64,
    feat_channels=64,
    stacked_convs=2,
    norm_cfg=small_norm,
)
