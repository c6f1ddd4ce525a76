_base_ = './mask-rcnn_r18_fpn_shapes.py'
model = dict(neck=dict(type='GFPN'))
