_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    './efficientnet-lite0.py',
]
model = dict(
    data_preprocessor=_base_.lite_preprocessor,
    backbone=_base_.lite_backbone,
    neck=_base_.lite_neck,
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(
            in_channels=64, conv_out_channels=64, norm_cfg=_base_.small_norm
        ),
    ),
    # Half of MMDetection's proposals, for a CPU
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=1000, max_per_img=500),
        rcnn=dict(sampler=dict(num=256)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=500)),
)
