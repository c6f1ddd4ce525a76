_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'
model = dict(
    type='SPRNet',
    # num_classes, in_channels and anchor_generator are those of bbox_head
    mask_head=dict(
        type='SPRHead',
        sampler=dict(
            type='OverlapPixelSampler', threshold=0.7, max_pixels=300
        ),
        encoder=dict(
            type='MultiScaleFusion',
            channels=(256, 128, 128, 128),
            kernels=(1, 3, 3, 3),
            dilations=(1, 2, 4, 6),
        ),
        decoder=dict(type='ShortcutPixelDecoder', channels=256),
        loss_mask=dict(
            type='CrossEntropyLoss', use_sigmoid=True, loss_weight=1.0
        ),
    ),
    test_cfg=dict(mask_thr_binary=0.5),
)
