# The parts that add SPR masks to a one-stage detector. A config inherits this
# file and the detector's, and assigns the parts, as in other_heads/.
_base_ = [
    './models/anchors.py',
    './models/spr_head.py',
    './spr_runtime.py',
    './datasets/steps.py',
]
# Mask heads for any box head: the paper's, and masks read at the box
location_masks = dict(_base_.spr_head, anchor_generator=_base_.paper_anchors)
box_masks = dict(
    _base_.spr_head,
    sampler=dict(type='JitteredBoxSampler'),
    encoder=dict(type='BoxGrid'),
)
checked_data = dict(dataset=dict(type='CheckedCocoDataset'))
# For a training pipeline that already loads masks
checked_training = dict(
    persistent_workers=False,
    worker_init_fn=dict(type='keep_epoch_seed'),
    **checked_data,
)
# For one that does not
with_masks = dict(
    checked_training,
    dataset=dict(
        type='CheckedCocoDataset',
        pipeline=[
            *_base_.load,
            dict(type='Resize', scale=(1333, 800), keep_ratio=True),
            dict(type='RandomFlip', prob=0.5),
            _base_.pack,
        ],
    ),
)
boxes_and_masks = dict(type='CocoAPARMetric', metric=['bbox', 'segm'])
