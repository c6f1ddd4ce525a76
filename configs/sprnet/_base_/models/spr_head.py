spr_head = dict(
    type='SPRHead',
    # SPRNet copies num_classes, in_channels and anchor_generator of bbox_head.
    sampler=dict(
        type='OverlapLocationSampler', threshold=0.7, max_locations=300
    ),
    encoder=dict(
        type='MultiScaleFusion',
        channels=(256, 128, 128, 128),
        kernels=(1, 3, 3, 3),
        dilations=(1, 2, 4, 6),
    ),
    decoder=dict(type='ShortcutPixelDecoder', channels=256),
    loss_mask=dict(type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0),
)
