# The paper's SPRNet with half the channels in the box head's towers
_base_ = '../sprnet_r50_gfpn_1x_coco.py'
model = dict(bbox_head=dict(feat_channels=128))
