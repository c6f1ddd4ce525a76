# YOLOX selects its detections in its own way, so the location behind one is
# unknown. Mosaic, RandomAffine and MixUp know no masks; RTMDet's steps replace
# them, also among those that the last 15 epochs skip.
_base_ = [
    'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
    '../_base_/add_spr.py',
    '../_base_/datasets/mosaic.py',
]
model = dict(
    type='SPRNet',
    data_preprocessor=dict(
        batch_augments=[
            dict(
                type='MaskBatchSyncRandomResize',
                random_size_range=(320, 640),
                size_divisor=32,
                interval=10,
            )
        ]
    ),
    mask_head=dict(
        _base_.box_masks, encoder=dict(type='BoxGrid', strides=[8, 16, 32])
    ),
)
train_dataloader = dict(
    persistent_workers=False,
    worker_init_fn=dict(type='keep_epoch_seed'),
    dataset=dict(
        dataset=dict(type='CheckedCocoDataset', pipeline=_base_.load_polygons),
        pipeline=_base_.mosaic_with_masks,
    ),
)
val_dataloader = test_dataloader = _base_.checked_data
val_evaluator = test_evaluator = _base_.boxes_and_masks
custom_imports = _base_.spr_imports
default_hooks = _base_.spr_hooks
custom_hooks = _base_.mosaic_hooks
env_cfg = _base_.spr_env
tta_model = _base_.spr_tta
