_base_ = ['./sprnet_r50_fpn.py', './small.py']
model = dict(
    backbone=_base_.small_backbone,
    neck=_base_.small_neck,
    bbox_head=_base_.small_dense_head,
    mask_head=dict(
        encoder=dict(channels=(96, 64, 64, 64)), decoder=dict(channels=64)
    ),
)
