# The box head of mmdet::rtmdet/, without the masks of RTMDet-Ins's
rtmdet_head = dict(
    _delete_=True,
    type='RTMDetSepBNHead',
    num_classes=80,
    stacked_convs=2,
    anchor_generator=dict(
        type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]
    ),
    bbox_coder=dict(type='DistancePointBBoxCoder'),
    loss_cls=dict(
        type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0
    ),
    loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
    with_objectness=False,
    exp_on_reg=False,
    share_conv=True,
    pred_kernel_size=1,
    norm_cfg=dict(type='SyncBN'),
    act_cfg=dict(type='SiLU', inplace=True),
)
