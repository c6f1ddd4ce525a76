_base_ = '../object_detection/retinanet_r18_gfpn_shapes.py'
model = dict(neck=dict(gate_init='open'))
