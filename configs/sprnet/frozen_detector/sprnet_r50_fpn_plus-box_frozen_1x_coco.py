# The same with masks that are read at the box
_base_ = [
    './sprnet_r50_fpn_frozen_1x_coco.py',
    '../_base_/models/box_encoder.py',
]
model = dict(mask_head=_base_.read_at_the_box)
