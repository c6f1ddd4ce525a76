_base_ = './sprnet_r50_fpn_1x_coco.py'
model = dict(neck=dict(type='GFPN'))
