_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', './small.py']
model = dict(
    backbone=_base_.small_backbone,
    neck=_base_.small_neck,
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=6),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(
            in_channels=64,
            conv_out_channels=64,
            num_classes=6,
            norm_cfg=_base_.small_norm,
        ),
    ),
    # A quarter of MMDetection's proposals: images have a dozen objects at most
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=250),
        rcnn=dict(sampler=dict(num=128)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=250, max_per_img=250)),
)
