# RTMDet-Ins tiny as in mmdet::rtmdet/, for the shapes and any device
rtmdet_norm = dict(type='BN')
rtmdet_act = dict(type='SiLU', inplace=True)
rtmdet_small_head = dict(
    num_classes=6, in_channels=96, feat_channels=96, norm_cfg=rtmdet_norm
)
model = dict(
    type='RTMDet',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[103.53, 116.28, 123.675],
        std=[57.375, 57.12, 58.395],
        pad_size_divisor=32,
    ),
    backbone=dict(
        type='CSPNeXt',
        deepen_factor=0.167,
        widen_factor=0.375,
        norm_cfg=rtmdet_norm,
        act_cfg=rtmdet_act,
    ),
    neck=dict(
        type='CSPNeXtPAFPN',
        in_channels=[96, 192, 384],
        out_channels=96,
        num_csp_blocks=1,
        expand_ratio=0.5,
        norm_cfg=rtmdet_norm,
        act_cfg=rtmdet_act,
    ),
    bbox_head=dict(
        type='RTMDetInsSepBNHead',
        stacked_convs=2,
        share_conv=True,
        pred_kernel_size=1,
        act_cfg=rtmdet_act,
        anchor_generator=dict(
            type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]
        ),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(
            type='QualityFocalLoss',
            use_sigmoid=True,
            beta=2.0,
            loss_weight=1.0,
        ),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        loss_mask=dict(
            type='DiceLoss', loss_weight=2.0, eps=5e-6, reduction='mean'
        ),
        **rtmdet_small_head,
    ),
    train_cfg=dict(
        assigner=dict(type='DynamicSoftLabelAssigner', topk=13),
        allowed_border=-1,
        pos_weight=-1,
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=100,
        mask_thr_binary=0.5,
    ),
)
