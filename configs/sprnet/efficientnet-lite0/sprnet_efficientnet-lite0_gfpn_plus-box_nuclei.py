# The model of `make hello`, as tools/new_config.py wrote it for data/nuclei
_base_ = './sprnet_efficientnet-lite0_gfpn_plus-box_own.py'

data_root = 'data/nuclei/'
classes = ('nucleus',)
# Pixels of the longer side. 10% of the objects are smaller than 12 pixels
# then, half than 25; the proposal is about 12 for 10%.
size = 384
# 897 pictures with objects: 225 iterations an epoch, 1800 in all
batch = 4
epochs = 8
# 95% of the objects have an anchor with an IoU above 0.5, which boxes
# learn from; 68% one above 0.7, which the paper's masks learn from; masks
# read at the box learn from every object.
anchor_base = 3  # side of the smallest anchor, in strides
strides = (4, 8, 16, 32, 64)
# Detections of a picture, at most. A picture has up to 162 objects;
# AP counts 100 detections of each, as COCO does.
detections = 200

# What follows hands these values on.
resize = dict(type='Resize', scale=(size, size), keep_ratio=True)
train_dataloader = dict(
    batch_size=batch,
    dataset=dict(
        data_root=data_root,
        metainfo=dict(classes=classes),
        data_prefix=dict(img='train/'),
        pipeline=[*_base_.load, resize, _base_.flip, _base_.pack],
    ),
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=dict(classes=classes),
        data_prefix=dict(img='val/'),
        pipeline=[_base_.load[0], resize, _base_.load[1], _base_.pack_test],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = val_evaluator
model = dict(
    neck=dict(start_level=0),  # 0 for strides from 4 on, 1 from 8
    bbox_head=dict(
        num_classes=len(classes),
        anchor_generator=dict(octave_base_scale=anchor_base, strides=strides),
    ),
    test_cfg=dict(max_per_img=detections),
    mask_head=dict(encoder=dict(strides=strides)),
)
train_cfg = dict(max_epochs=epochs, val_interval=2)
param_scheduler = [_base_.warmup, dict(end=epochs, **_base_.cosine)]
