_base_ = ['./sprnet_r50_fpn.py', './efficientnet-lite0.py']
model = dict(
    data_preprocessor=_base_.lite_preprocessor,
    backbone=_base_.lite_backbone,
    neck=_base_.lite_neck,
    bbox_head=_base_.lite_dense_head,
    mask_head=dict(
        encoder=dict(channels=(96, 64, 64, 64)), decoder=dict(channels=64)
    ),
)
