# Each mask is read at its box
_base_ = [
    './sprnet_efficientnet-lite0_gfpn_1x_coco.py',
    '../_base_/models/box_encoder_efficientnet-lite0.py',
]
model = dict(mask_head=_base_.read_at_the_box)
