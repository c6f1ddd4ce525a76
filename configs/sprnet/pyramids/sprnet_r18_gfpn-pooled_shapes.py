# The pyramid of Figure 2's caption
_base_ = '../sprnet_r18_gfpn_shapes.py'
model = dict(neck=dict(type='PooledGFPN'))
