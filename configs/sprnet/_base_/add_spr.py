# The parts that add SPR masks to a one-stage detector. A config inherits this
# file and the detector's, and assigns the parts, as in other_heads/.
_base_ = [
    './models/spr_head.py',
    './spr_runtime.py',
    './datasets/steps.py',
]
# The paper's anchors (section 3.3), for a head with other anchors or none
paper_anchors = dict(
    type='AnchorGenerator',
    octave_base_scale=4,
    scales_per_octave=3,
    ratios=[0.5, 1.0, 2.0],
    strides=[8, 16, 32, 64, 128],
)
checked_data = dict(dataset=dict(type='CheckedCocoDataset'))
with_masks = dict(
    persistent_workers=False,
    worker_init_fn=dict(type='keep_epoch_seed'),
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
