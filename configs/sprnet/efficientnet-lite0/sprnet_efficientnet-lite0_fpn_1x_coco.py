_base_ = [
    '../_base_/models/sprnet_efficientnet-lite0_fpn.py',
    '../_base_/datasets/coco_instance.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    '../_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=0.01))  # as mmdet's RetinaNet
