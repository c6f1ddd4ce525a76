_base_ = './sprnet_efficientnet-lite0_fpn_own.py'
model = dict(neck=dict(type='GFPN'))
