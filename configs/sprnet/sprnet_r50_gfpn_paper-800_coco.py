_base_ = './sprnet_r50_fpn_paper-800_coco.py'
model = dict(neck=dict(type='GFPN'))
