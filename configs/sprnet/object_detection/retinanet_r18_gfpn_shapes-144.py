_base_ = './retinanet_r18_fpn_shapes-144.py'
model = dict(neck=dict(type='GFPN'))
