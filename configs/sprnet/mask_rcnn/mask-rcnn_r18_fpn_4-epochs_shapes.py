# Uses as many proposals as MMDetection's Mask R-CNN
_base_ = './mask-rcnn_r18_fpn_shapes.py'
model = dict(
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=2000, max_per_img=1000),
        rcnn=dict(sampler=dict(num=512)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=1000, max_per_img=1000)),
)
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [_base_.warmup, dict(end=max_epochs, **_base_.cosine)]
