_base_ = './retinanet_r18_fpn_shapes.py'
model = dict(backbone=dict(depth=34))
