_base_ = '../sprnet_r18_fpn_shapes.py'
model = dict(type='FrozenSPRNet')
load_from = 'work_dirs/retinanet_r18_fpn_shapes/epoch_1.pth'
