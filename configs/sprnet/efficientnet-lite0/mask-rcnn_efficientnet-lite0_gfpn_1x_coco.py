_base_ = './mask-rcnn_efficientnet-lite0_fpn_1x_coco.py'
model = dict(neck=dict(type='GFPN'))
