_base_ = './mask-rcnn_r18_fpn_shapes.py'
model = dict(backbone=dict(depth=34))
