# The paper's SPRNet; its box head has half the convolutions and channels
_base_ = '../sprnet_r50_gfpn_1x_coco.py'
model = dict(bbox_head=dict(stacked_convs=2, feat_channels=128))
