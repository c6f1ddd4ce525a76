"""What a JSON leaves to learn and to measure, and what it counts twice."""

import re

import check_dataset
import pytest
from support.coco_files import RLE, evaluated, faults_in, loaded, write
from support.helpers import SHAPES_CONFIG
from support.in_process import complaint, run_command

TRAIN, VAL = 'train', 'val and test'


def kinds(folder, name=TRAIN, **fields):
    return [fault.kind for fault in faults_in(folder, name, **fields)]


def each(**fields):
    """A change of all annotations; ``...`` deletes a field."""

    def change(data, folder):
        for one in data['annotations']:
            one.update(fields)
            for name in [n for n, value in fields.items() if value is ...]:
                del one[name]

    return change


def test_coco_takes_the_annotation_id_0_for_no_match(tmp_path):
    write(tmp_path)
    precision = evaluated(tmp_path)[0]
    write(tmp_path, lambda data, _: data['annotations'][0].update(id=0))
    assert evaluated(tmp_path)[0] < precision
    assert kinds(tmp_path, VAL) == ['annotation id']
    assert kinds(tmp_path, VAL, completes=True) == kinds(tmp_path) == []


def test_what_our_metric_completes_is_no_fault(tmp_path):
    write(tmp_path, each(iscrowd=...))
    assert kinds(tmp_path, VAL, completes=True) == kinds(tmp_path) == []
    assert 'wrong field' in kinds(tmp_path, VAL)


@pytest.mark.parametrize('name', [TRAIN, VAL])
def test_nothing_follows_from_what_the_checker_leaves_out(name, tmp_path):
    write(tmp_path, each(area=...))
    assert kinds(tmp_path, name) == ['wrong field'] * 3


def test_ids_that_differ_in_type_are_named(tmp_path):
    write(tmp_path, each(category_id='1'))
    fault = next(f for f in faults_in(tmp_path) if 'category' in f.kind)
    assert fault.what == "there is no category '1', but 1"
    write(tmp_path, each(image_id='2'))
    fault = next(f for f in faults_in(tmp_path) if 'image' in f.kind)
    assert fault.what == 'there is no such image, but 2'


def as_fiftyone(data, folder):
    """Category ids from 0, empty fields, confidences."""
    for one in data['categories']:
        one.update(id=one['id'] - 1, supercategory=None)
    for one in data['images']:
        one.update(license=None, coco_url=None)
    for one in data['annotations']:
        one.update(category_id=one['category_id'] - 1, confidence=None)


def as_datumaro(data, folder):
    """Run lengths for drawn masks, with attributes."""
    for one in data['images']:
        one.update(license=0, flickr_url='', date_captured=0)
    for one in data['annotations'][:2]:
        attributes = dict(occluded=False, rotation=0.0)
        one.update(segmentation=dict(RLE), attributes=attributes)


@pytest.mark.parametrize('export', [as_fiftyone, as_datumaro])
def test_exports_of_other_programs_are_sound(export, tmp_path):
    write(tmp_path, export)
    assert kinds(tmp_path) == kinds(tmp_path, VAL) == []
    labels = [
        item['data_samples'].gt_instances.labels.tolist()
        for item in loaded(tmp_path)
    ]
    assert labels == [[0, 5], []]


def test_shares_of_the_image_are_suspected(tmp_path):
    write(tmp_path, each(bbox=[0.1, 0.2, 0.3, 0.4], area=0.12))
    fault = next(f for f in faults_in(tmp_path) if 'without area' in f.kind)
    assert fault.what.endswith('are these shares of the image?')


@pytest.mark.parametrize(
    'name,kind', [(TRAIN, 'nothing to learn'), (VAL, 'nothing to evaluate')]
)
def test_objects_without_any_mask_are_named(name, kind, tmp_path):
    write(tmp_path, each(segmentation=[]))
    assert kind in kinds(tmp_path, name, masks_optional=True)
    boxes_only = dict(masks=False, metrics=['bbox'], masks_optional=True)
    if name == TRAIN:
        boxes_only['metrics'] = []
    assert kinds(tmp_path, name, **boxes_only) == []


def test_images_of_the_training_set_are_named(shapes, capsys):
    options = [
        f'data_root={shapes}',
        'val_dataloader.dataset.ann_file=annotations/instances_train2017.json',
        'val_dataloader.dataset.data_prefix.img=train2017/',
        f'val_evaluator.ann_file={shapes}/annotations/'
        'instances_train2017.json',
    ]
    run_command(check_dataset, SHAPES_CONFIG, '--cfg-options', *options)
    printed = capsys.readouterr().out
    assert 'warning: image of the training set (12)' in printed


@pytest.mark.parametrize('step', ['Mosaic', 'MixUp'])
def test_a_step_that_leaves_masks_behind_is_named(step, shapes, tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = {str(SHAPES_CONFIG)!r}\n'
        'steps = _base_.train_dataloader.dataset.pipeline\n'
        'inner = dict(_base_.train_dataloader.dataset, pipeline=steps[:3])\n'
        f'step = dict(type={step!r}, img_scale=(96, 96))\n'
        'train_dataloader = dict(\n'
        '    dataset=dict(\n'
        '        _delete_=True,\n'
        "        type='MultiImageMixDataset',\n"
        '        dataset=inner,\n'
        '        pipeline=[step, steps[-1]],\n'
        '    )\n'
        ')\n'
    )
    options = ('--cfg-options', f'data_root={shapes}')
    sentence = complaint(check_dataset, config, *options)
    assert re.search('leave masks behind|without the masks', sentence)


def test_a_step_that_moves_boxes_only_is_named(shapes):
    step = 'train_dataloader.dataset.pipeline.3'
    shift = [f'{step}.type=RandomShift', f'{step}.max_shift_px=60']
    options = (f'data_root={shapes}', *shift, f'{step}.prob=1')
    sentence = complaint(
        check_dataset, SHAPES_CONFIG, '--cfg-options', *options
    )
    assert 'masks are not in their boxes' in sentence
