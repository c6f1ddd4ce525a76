_base_ = [
    './rtmdet-ins-tiny_shapes.py',
    '../_base_/models/rtmdet_head.py',
    '../_base_/models/spr_head.py',
    '../_base_/models/anchors.py',
]
model = dict(
    type='SPRNet',
    # As in RTMDet-Ins; without it, short trainings start slowly.
    bbox_head=dict(
        _base_.rtmdet_head, exp_on_reg=True, **_base_.rtmdet_small_head
    ),
    mask_head=dict(
        _base_.spr_head,
        anchor_generator=dict(_base_.paper_anchors, strides=[8, 16, 32]),
        encoder=dict(_base_.spr_head.encoder, channels=(96, 64, 64, 64)),
        decoder=dict(_base_.spr_head.decoder, channels=64),
    ),
)
