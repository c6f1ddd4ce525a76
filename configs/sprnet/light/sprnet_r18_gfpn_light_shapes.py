# The twin of sprnet_r50_gfpn_light_1x_coco.py
_base_ = '../sprnet_r18_gfpn_shapes.py'
model = dict(bbox_head=dict(feat_channels=24))
