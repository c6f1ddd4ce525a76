_base_ = '../object_detection/retinanet_r50_gfpn_paper-400_coco.py'
model = dict(neck=dict(gate='square'))
