_base_ = '../sprnet_r18_gfpn_shapes.py'
model = dict(mask_head=dict(decoder=dict(type='SinglePixelDecoder')))
