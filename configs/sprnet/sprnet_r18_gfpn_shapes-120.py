_base_ = './sprnet_r18_fpn_shapes-120.py'
model = dict(neck=dict(type='GFPN'))
