# The paper's SPRNet with half the convolutions and 3/8 of the channels in the
# box head's towers
_base_ = '../sprnet_r50_gfpn_1x_coco.py'
model = dict(bbox_head=dict(stacked_convs=2, feat_channels=96))
