_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', './spr_head.py']
model = dict(
    type='SPRNet',
    mask_head=_base_.spr_head,
    test_cfg=dict(mask_thr_binary=0.5),
)
