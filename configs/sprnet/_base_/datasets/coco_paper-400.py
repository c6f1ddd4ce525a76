_base_ = './coco_paper.py'
resize = dict(type='Resize', scale=(666, 400), keep_ratio=True)
train_pipeline = [*_base_.load, resize, _base_.pack]
test_pipeline = [_base_.load[0], resize, _base_.load[1], _base_.pack_test]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
