# Each mask is read at its box
_base_ = [
    './sprnet_rtmdet-tiny_300e_coco.py',
    '../_base_/models/box_encoder_rtmdet.py',
]
model = dict(
    backbone=dict(out_indices=_base_.with_fine_map),
    mask_head=dict(
        _base_.read_at_the_box,
        encoder=dict(_base_.read_at_the_box.encoder, fine_channels=48),
    ),
)
