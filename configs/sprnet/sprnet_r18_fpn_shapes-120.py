_base_ = [
    './_base_/models/sprnet_r18_fpn.py',
    './_base_/datasets/shapes-120.py',
    './_base_/schedules/schedule_shapes.py',
    './_base_/default_runtime.py',
]
