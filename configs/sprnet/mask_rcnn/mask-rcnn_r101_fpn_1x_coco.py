_base_ = './mask-rcnn_r50_fpn_1x_coco.py'
model = dict(
    backbone=dict(
        depth=101, init_cfg=dict(checkpoint='torchvision://resnet101')
    )
)
# An object without a mask would train an empty one
train_dataloader = dict(dataset=dict(require_masks=True))
