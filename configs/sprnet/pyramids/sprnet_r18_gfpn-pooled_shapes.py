# The pyramid of Figure 2's caption: P6 is pooled from P5
_base_ = '../sprnet_r18_gfpn_shapes.py'
model = dict(neck=dict(type='PooledGFPN'))
