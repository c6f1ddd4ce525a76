_base_ = [
    '../_base_/models/retinanet_r50_fpn_paper.py',
    '../_base_/datasets/coco_paper-600.py',
    '../_base_/schedules/schedule_paper.py',
    '../_base_/default_runtime.py',
]
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
