_base_ = [
    '../_base_/models/sprnet_efficientnet-lite0_fpn.py',
    '../_base_/datasets/own.py',
    '../_base_/schedules/schedule_own.py',
    '../_base_/own_runtime.py',
]
