_base_ = 'mmdet::_base_/datasets/coco_instance.py'
# A resumed training repeats the random numbers of an unbroken one if workers
# restart each epoch with the seeds of EpochSeedHook.
train_dataloader = dict(
    persistent_workers=False,
    worker_init_fn=dict(type='keep_epoch_seed'),
    dataset=dict(type='CheckedCocoDataset'),
)
val_dataloader = dict(dataset=dict(type='CheckedCocoDataset'))
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoAPARMetric')
test_evaluator = val_evaluator
