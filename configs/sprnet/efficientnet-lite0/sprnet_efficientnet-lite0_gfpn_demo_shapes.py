# `make demo` trains this, from ImageNet's weights
_base_ = './sprnet_efficientnet-lite0_fpn_demo_shapes.py'
model = dict(neck=dict(type='GFPN'))
