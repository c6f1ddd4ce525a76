_base_ = './mask-rcnn_r101_fpn_1x_coco.py'
model = dict(neck=dict(type='GFPN'))
