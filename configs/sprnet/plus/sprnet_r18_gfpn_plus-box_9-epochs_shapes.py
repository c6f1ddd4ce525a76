# Each mask is read at its box; trained as long as the demo
_base_ = [
    '../sprnet_r18_gfpn_9-epochs_shapes.py',
    '../_base_/models/box_encoder_r18.py',
]
model = dict(mask_head=_base_.read_at_the_box)
