# The pyramid of Figure 2's caption: P6 is pooled from P5
_base_ = '../sprnet_r50_gfpn_paper-500_coco.py'
model = dict(neck=dict(type='PooledGFPN'))
