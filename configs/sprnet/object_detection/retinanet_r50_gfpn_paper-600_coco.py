_base_ = './retinanet_r50_fpn_paper-600_coco.py'
model = dict(neck=dict(type='GFPN'))
