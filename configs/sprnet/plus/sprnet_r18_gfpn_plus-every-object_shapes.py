# Every object trains a mask, at its best pixel at least
_base_ = '../sprnet_r18_gfpn_shapes.py'
model = dict(mask_head=dict(sampler=dict(type='EveryObjectPixelSampler')))
