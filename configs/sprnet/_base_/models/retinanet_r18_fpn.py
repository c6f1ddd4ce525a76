_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', './small.py']
model = dict(
    backbone=_base_.small_backbone,
    neck=_base_.small_neck,
    bbox_head=_base_.small_dense_head,
)
