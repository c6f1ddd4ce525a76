# Pictures of one's own: a folder with train/, val/, train.json and val.json.
# tools/new_config.py writes the config that names it.
_base_ = ['./coco_instance.py', './steps.py']
flip = dict(type='RandomFlip', prob=0.5)
resize = dict(type='Resize', scale=(512, 512), keep_ratio=True)
train_pipeline = [*_base_.load, resize, flip, _base_.pack]
test_pipeline = [_base_.load[0], resize, _base_.load[1], _base_.pack_test]
data_root = 'data/own/'
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root=data_root,
        ann_file='train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root=data_root,
        ann_file='val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = val_evaluator
