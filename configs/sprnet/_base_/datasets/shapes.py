# The data set of tools/make_shapes.py. The files shapes-*.py set the size.
_base_ = ['./coco_instance.py', './steps.py']
flip = dict(type='RandomFlip', prob=0.5)
data_root = 'data/shapes/'
metainfo = dict(
    classes=('ellipse', 'triangle', 'rectangle', 'star', 'cross', 'ring'),
    palette=[
        (230, 25, 75),
        (60, 180, 75),
        (255, 225, 25),
        (0, 130, 200),
        (245, 130, 48),
        (145, 30, 180),
    ],
)
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(data_root=data_root, metainfo=metainfo),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator
