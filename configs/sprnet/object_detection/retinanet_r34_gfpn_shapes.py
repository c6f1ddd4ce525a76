_base_ = './retinanet_r18_gfpn_shapes.py'
model = dict(backbone=dict(depth=34))
