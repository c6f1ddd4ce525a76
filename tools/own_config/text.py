"""The text of a config of one's own."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.config import Config

from .data import DataSet
from .propose import BOX_IOU, LEAST_SIDE, MASK_IOU, Anchors

# Below this share of objects with an anchor above MASK_IOU, the others train
# masks, too
ENOUGH = 0.9

TEMPLATE = """\
# Written by tools/new_config.py for {root}
_base_ = {base!r}

data_root = {root!r}
classes = {classes}
# {why_size}
size = {size}
# {why_epochs}
batch = {batch}
epochs = {epochs}
# {why_anchors}
anchor_base = {anchors.base}  # side of the smallest anchor, in strides
strides = {anchors.strides}
# {why_detections}
detections = {detections}

# What follows hands these values on.
resize = dict(type='Resize', scale=(size, size), keep_ratio=True)
train_dataloader = dict(
    batch_size=batch,
    dataset=dict(
        data_root=data_root,
        metainfo=dict(classes=classes),
        data_prefix=dict(img={folders[train]!r}),
        pipeline=[*_base_.load, resize, _base_.flip, _base_.pack],
    ),
)
val_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=dict(classes=classes),
        data_prefix=dict(img={folders[val]!r}),
        pipeline=[_base_.load[0], resize, _base_.load[1], _base_.pack_test],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'val.json')
test_evaluator = val_evaluator
model = dict(
{model})
train_cfg = dict(max_epochs=epochs, val_interval={interval})
param_scheduler = [_base_.warmup, dict(end=epochs, **_base_.cosine)]
"""
MASK_RCNN = """\
    rpn_head=dict(
        anchor_generator=dict(scales=[anchor_base], strides=strides)
    ),
    roi_head=dict(
        bbox_head=dict(num_classes=len(classes)),
        mask_head=dict(num_classes=len(classes)),
    ),
    test_cfg=dict(rcnn=dict(max_per_img=detections)),
"""
SPRNET = """\
    neck=dict(start_level={start_level}),  # 0 for strides from 4 on, 1 from 8
    bbox_head=dict(
        num_classes=len(classes),
        anchor_generator=dict(octave_base_scale=anchor_base, strides=strides),
    ),
    test_cfg=dict(max_per_img=detections),
"""
AT_BOXES = """\
    mask_head=dict(encoder=dict(strides=strides)),
"""
EVERY_OBJECT = """\
    # Objects without such an anchor train masks, too.
    mask_head=dict(sampler=dict(type='EveryObjectLocationSampler')),
"""


class Choice(NamedTuple):
    """What new_config.py was told, or proposes."""

    size: int
    batch: int
    epochs: int
    anchors: Anchors
    detections: int


def config_text(base: Path, out: Path, data: DataSet, choice: Choice) -> str:
    """Write a config.

    Args:
        base: The config that it inherits.
        out: Where it will be.
        data: Its data set.
        choice: Its values.
    """
    root = os.path.join(data.root, '')
    return TEMPLATE.format(
        base=os.path.relpath(base, out.parent),
        root=root,
        classes=tuple_text(data.classes),
        folders=data.folders,
        model=model_text(base, choice.anchors),
        interval=-(-choice.epochs // 4),
        **choice._asdict(),
        **reasons(data, choice),
    )


def reasons(data: DataSet, choice: Choice) -> dict[str, str]:
    """Say in a sentence each why the values are what they are."""
    sides = data.objects.sides / data.objects.images.max(axis=1) * choice.size
    tenth, half = np.quantile(sides, [0.1, 0.5])
    anchors = choice.anchors
    steps = -(-data.pictures // choice.batch)
    return dict(
        why_size=(
            f'Pixels of the longer side. 10% of the objects are smaller than '
            f'{tenth:.0f} pixels then,\n# half than {half:.0f}; the proposal '
            f'is about {LEAST_SIDE} for 10%.'
        ),
        why_epochs=(
            f'{data.pictures} pictures with objects: {steps} iterations an '
            f'epoch, {steps * choice.epochs} in all'
        ),
        why_anchors=(
            f'{anchors.boxes:.0%} of the objects have an anchor with an IoU '
            f'above {BOX_IOU}, which boxes\n# learn from; {anchors.masks:.0%} '
            f"one above {MASK_IOU}, which the paper's masks learn from; "
            'masks\n# read at the box learn from every object.'
        ),
        why_detections=(
            f'Detections of a picture, at most. A picture has up to '
            f'{data.most} objects;\n# AP counts 100 detections of each, as '
            'COCO does.'
        ),
    )


def model_text(base: Path, anchors: Anchors) -> str:
    """The options of the model."""
    model = Config.fromfile(base, import_custom_modules=False).model
    if 'roi_head' in model:
        return MASK_RCNN
    text = SPRNET.format(start_level=0 if anchors.strides[0] == 4 else 1)
    if model.mask_head.encoder.type == 'BoxGrid':
        return text + AT_BOXES
    return text + (EVERY_OBJECT if anchors.masks < ENOUGH else '')


def tuple_text(names: tuple[str, ...]) -> str:
    """Write a tuple of names, on several lines if it is long."""
    line = repr(names)
    if len(line) <= 60:
        return line
    return '(\n' + ''.join(f'    {name!r},\n' for name in names) + ')'
