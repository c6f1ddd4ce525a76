# Every object trains a mask at one location at least, its best one
_base_ = '../sprnet_r18_gfpn_shapes.py'
model = dict(mask_head=dict(sampler=dict(type='EveryObjectLocationSampler')))
