# Trains a mask head on MMDetection's published RetinaNet, which stays frozen
_base_ = '../sprnet_r50_fpn_1x_coco.py'
model = dict(type='FrozenSPRNet')
load_from = 'https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_r50_fpn_1x_coco/retinanet_r50_fpn_1x_coco_20200130-c2398f9e.pth'  # noqa: E501
