_base_ = './sprnet_efficientnet-lite0_fpn_1x_coco.py'
model = dict(neck=dict(type='GFPN'))
