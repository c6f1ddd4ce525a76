_base_ = [
    '../_base_/models/retinanet_r18_fpn.py',
    '../_base_/datasets/shapes-144.py',
    '../_base_/schedules/schedule_shapes.py',
    '../_base_/default_runtime.py',
]
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
