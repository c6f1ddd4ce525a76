"""A small COCO data set, for the tests of tools/check_dataset.py."""

import functools
import json

from common.configs import load_config

import cv2
import numpy as np
from check_dataset import check, splits_of
from mmdet.registry import DATASETS
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from shapes_data.scenes import CLASSES
from support.helpers import SHAPES_CONFIG

HEIGHT, WIDTH = 40, 60
LOAD = [dict(type='LoadImageFromFile')]
SQUARE = [10, 10, 30, 10, 30, 30, 10, 30]
# The same square: 20 columns from pixel 10 * 40 + 10 on
RLE = dict(size=[HEIGHT, WIDTH], counts=[410, 20, *[20, 20] * 19, 1210])


def annotation(number, image, **fields):
    default = dict(
        id=number,
        image_id=image,
        category_id=1,
        bbox=[10, 10, 20, 20],
        area=400,
        iscrowd=0,
        segmentation=[list(SQUARE)],
    )
    return {**default, **fields}


def coco():
    """A faultless COCO JSON: two images, three objects, one a crowd."""
    return dict(
        images=[
            dict(id=n, file_name=f'{n}.jpg', height=HEIGHT, width=WIDTH)
            for n in (1, 2)
        ],
        annotations=[
            annotation(11, 1),
            annotation(12, 1, category_id=6, segmentation=dict(RLE)),
            annotation(21, 2, iscrowd=1, segmentation=dict(RLE)),
        ],
        categories=[
            dict(id=n, name=name) for n, name in enumerate(CLASSES, start=1)
        ],
    )


def write(folder, change=lambda data, folder: None):
    """Write two images and their JSON, after ``change(data, folder)``."""
    noise = np.random.default_rng(0).integers(
        0, 255, (HEIGHT, WIDTH, 3), np.uint8
    )
    for name in ('1.jpg', '2.jpg'):
        cv2.imwrite(str(folder / name), noise)
    data = coco()
    changed = change(data, folder)
    text = changed if isinstance(changed, str) else json.dumps(data)
    (folder / 'coco.json').write_text(text)


@functools.cache
def split(name):
    """The Split 'train' or 'val and test' of the shapes' config."""
    return dict(splits_of(load_config(SHAPES_CONFIG, {})))[name]


def faults_in(folder, name='train', load=LOAD, **fields):
    """The faults of a folder's data, used as the shapes' config does.

    The shapes have six classes and the data two, which is noted each time.
    ``load`` are the steps that load an image.
    """
    fields = {'masks_optional': False, 'completes': False, **fields}
    where = dict(
        ann_file=str(folder / 'coco.json'),
        data_root='',
        data_prefix=dict(img=str(folder)),
    )
    changed = split(name)._replace(
        ann_file=where['ann_file'],
        folder=str(folder),
        evaluated_files=[],
        dataset=dict(split(name).dataset, **where, pipeline=load),
        **fields,
    )
    faults = check(changed, processes=1)[1]
    return [f for f in faults if f.kind != 'class without objects']


def stops(function, folder):
    """Tell whether a function of the folder raises an exception."""
    try:
        function(folder)
    except Exception:
        return True
    return False


def loaded(folder, load=LOAD):
    """All images and annotations, loaded as MMDetection does in training."""
    dataset = DATASETS.build(
        dict(
            type='CocoDataset',
            ann_file=str(folder / 'coco.json'),
            data_prefix=dict(img=str(folder)),
            metainfo=dict(classes=CLASSES),
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=[
                *load,
                dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                dict(type='PackDetInputs', meta_keys=('img_id', 'ori_shape')),
            ],
        )
    )
    return [dataset[n] for n in range(len(dataset))]


def evaluated(folder):
    """COCO's figures of one detected square."""
    truth = COCO(folder / 'coco.json')
    detection = dict(
        image_id=1,
        category_id=1,
        score=1.0,
        segmentation=coco_mask.frPyObjects([SQUARE], HEIGHT, WIDTH)[0],
    )
    evaluation = COCOeval(truth, truth.loadRes([detection]), 'segm')
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats
