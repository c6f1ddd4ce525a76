_base_ = './mask-rcnn_r18_gfpn_shapes.py'
model = dict(backbone=dict(depth=34))
