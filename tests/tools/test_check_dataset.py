"""Each kind of fault is found, and MMDetection does what is said of it."""

import json
import re
import shutil
import struct
import zlib

from common.configs import load_config

import cv2
import numpy as np
import pytest
from check_dataset import main, splits_of
from dataset_check.faults import KINDS
from dataset_check.objects import decode_counts
from dataset_check.report import report
from PIL import Image
from pycocotools import mask as coco_mask
from support import commands
from support.coco_files import (
    HEIGHT,
    RLE,
    SQUARE,
    WIDTH,
    annotation,
    evaluated,
    faults_in,
    loaded,
    stops,
    write,
)
from support.helpers import SHAPES_CONFIG


def set_fields(item, fields):
    item.update(fields)
    for name in [n for n, value in fields.items() if value is ...]:
        del item[name]


def entry(key, number=0, **fields):
    """A change of the fields of an image, annotation or category; ``...``
    deletes a field."""
    return lambda data, folder: set_fields(data[key][number], fields)


def top(**fields):
    """A change of the JSON's own fields; ``...`` deletes a field."""
    return lambda data, folder: set_fields(data, fields)


def text(function):
    """A change of the JSON's text."""
    return lambda data, folder: function(json.dumps(data))


def picture(mode, size=(WIDTH, HEIGHT), name='1.png', **options):
    """A change that replaces the first image."""

    def change(data, folder):
        Image.new(mode, size, 99).save(folder / name, **options)
        data['images'][0]['file_name'] = name

    return change


def content(function):
    """A change of the first image's bytes."""

    def change(data, folder):
        file = folder / '1.jpg'
        file.write_bytes(function(file.read_bytes()))

    return change


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture('RGB', name='1.jpg', exif=exif)


def sixteen_bits(data, folder):
    deep = np.full((HEIGHT, WIDTH, 3), 4000, np.uint16)
    cv2.imwrite(str(folder / '1.png'), deep)
    data['images'][0]['file_name'] = '1.png'


def bomb(data, folder):
    """A small PNG file that claims to be 50000 pixels wide and high."""
    picture('RGB')(data, folder)
    file = bytearray((folder / '1.png').read_bytes())
    file[16:24] = struct.pack('>II', 50000, 50000)
    file[29:33] = struct.pack('>I', zlib.crc32(file[12:29]))
    (folder / '1.png').write_bytes(file)


def outside(data, folder):
    Image.new('RGB', (WIDTH, HEIGHT)).save(folder.parent / 'secret.png')
    data['images'][0]['file_name'] = '../secret.png'


def absolute(data, folder):
    outside(data, folder)
    data['images'][0]['file_name'] = str(folder.parent / 'secret.png')


def small(data, folder):
    picture('RGB', (WIDTH, 20))(data, folder)
    data['images'][0]['height'] = 20


def many(data, folder):
    data['annotations'] = [annotation(n, 1) for n in range(5000)]


def mask(segmentation, number=0):
    return entry('annotations', number, segmentation=segmentation)


def all_crowds(data, folder):
    for one in data['annotations']:
        one['iscrowd'] = 1


def same_image_twice(data, folder):
    data['images'][1]['file_name'] = '1.jpg'


def object_twice(data, folder):
    data['annotations'].append(dict(data['annotations'][0], id=99))


def text_ids(data, folder):
    for image in data['images']:
        image['id'] = str(image['id'])
    for one in data['annotations']:
        one['image_id'] = str(one['image_id'])


def polygons(*polygons):
    return mask(list(polygons))


def box(*box):
    return entry('annotations', bbox=list(box))


# Kinds of faults and changes of the data that stop MMDetection's loading
STOPS = [
    ('broken JSON', text(lambda t: '')),
    ('broken JSON', text(lambda t: t[: len(t) // 2])),
    ('broken JSON', text(lambda t: '[' * 10**5)),
    ('broken JSON', text(lambda t: '[]')),
    ('broken JSON', top(images=...)),
    ('broken JSON', top(categories=...)),
    ('broken JSON', top(annotations=dict(a=1))),
    ('wrong field', top(images=[1])),
    ('wrong field', entry('images', id=...)),
    ('wrong field', entry('images', id=[1])),
    ('wrong field', entry('images', file_name=None)),
    ('wrong field', entry('images', width='60')),
    ('wrong field', entry('annotations', id=...)),
    ('wrong field', entry('annotations', area=...)),
    ('wrong field', entry('annotations', bbox=...)),
    ('wrong field', entry('annotations', bbox=[1, 2, 3])),
    ('wrong field', entry('annotations', bbox=[1, 2, 3, '4'])),
    ('wrong field', entry('annotations', category_id=dict(a=1))),
    ('wrong field', entry('categories', name=...)),
    ('duplicate annotation id', entry('annotations', 1, id=11)),
    ('no usable image', top(images=[])),
    ('no usable image', top(annotations=[])),
    ('missing image', entry('images', file_name='3.jpg')),
    ('missing image', entry('images', file_name='')),
    ('missing image', entry('images', file_name='1\0.jpg')),
    ('unreadable image', content(lambda b: b'')),
    ('unreadable image', content(lambda b: b'<html>no</html>')),
    ('damaged image', content(lambda b: b[: len(b) // 2])),
    ('image too large', bomb),
    ('wrong size', turned(6)),
    ('no mask', mask(...)),
    ('no mask', polygons()),
    ('not a mask', polygons(*SQUARE)),
    ('not a mask', polygons(['a'] * 6)),
    ('not a mask', mask('x')),
    ('not a mask', mask(7)),
    ('mask of another size', mask(dict(size=[9, 9], counts=[40, 41]))),
    ('not a mask', mask(dict(RLE, counts=[-5, 2405]))),
]
# and those that do not
SURVIVES = [
    ('duplicate image id', entry('images', 1, id=1)),
    ('annotation of no image', entry('annotations', image_id=9)),
    ('annotation of no category', entry('annotations', category_id=9)),
    ('duplicate category', entry('categories', 1, id=1)),
    ('duplicate category', entry('categories', 1, name='ring')),
    ('missing class', entry('categories', name='disc')),
    ('category of no class', entry('categories', name='disc')),
    ('order of classes', lambda data, folder: data['categories'].reverse()),
    ('path outside of the folder', outside),
    ('path outside of the folder', absolute),
    ('wrong size', entry('images', width=WIDTH + 1)),
    ('EXIF-rotated image', turned(3)),
    ('grey image', picture('L')),
    ('palette image', picture('P')),
    ('CMYK image', picture('CMYK', name='1.jpg')),
    ('transparent image', picture('RGBA')),
    ('16-bit image', sixteen_bits),
    ('16-bit image', picture('I;16')),
    ('small image', small),
    ('many objects', many),
    ('short polygon', polygons([15, 15])),
    ('short polygon', polygons([])),
    ('short polygon', polygons(SQUARE, [1, 2, 3, 4, 5])),
    ('short polygon', mask(dict(a=1))),
    ('self-crossing polygon', polygons([10, 10, 30, 30, 30, 10, 10, 30])),
    ('polygon out of the image', polygons([10, 10, 80, 10, 80, 30])),
    ('empty mask', polygons([90, 10, 99, 10, 99, 30])),
    ('empty mask', mask(dict(RLE, counts=[2400]))),
    ('mask of another size', mask(dict(RLE, size=[WIDTH, HEIGHT]), 2)),
    ('box without area', box(10, 10, 0, 20)),
    ('box without area', box(30, 30, -20, -20)),
    ('box without area', entry('annotations', area=0)),
    ('box not finite', box(10, float('nan'), 20, 20)),
    ('box not finite', box(10, 10, float('inf'), 20)),
    ('box outside of the image', box(70, 10, 20, 20)),
    ('box out of the image', box(10, 10, 60, 20)),
    ('nothing to learn', all_crowds),
    ('image listed twice', same_image_twice),
    ('object listed twice', object_twice),
    ('box of another mask', box(10, 10, 30, 30)),
    ('area of something else', entry('annotations', area=5000)),
    ('ids of another type', text_ids),
]
CASES = [(*case, True) for case in STOPS]
CASES += [(*case, False) for case in SURVIVES]


@pytest.mark.parametrize('kind,change,loading_stops', CASES)
def test_finds_and_names_the_fault(kind, change, loading_stops, tmp_path):
    write(tmp_path, change)
    faults = faults_in(tmp_path)
    (fault, *_) = [f for f in faults if f.kind == kind]
    assert set(f.kind for f in faults) <= set(KINDS)
    lines = '\n'.join(report(faults, first=5))
    assert kind in lines
    # What needs no remedy is one line, however many images have it.
    assert (str(fault) in lines) == bool(KINDS[kind].remedy)
    assert KINDS[kind].remedy in lines
    # What the report says is what MMDetection does.
    assert stops(loaded, tmp_path) == loading_stops


def test_every_kind_of_fault_is_tested():
    elsewhere = {
        'annotation id',  # in test_check_contents.py
        'image of the training set',
        'cut-off values',  # in test_check_images.py
        'num_classes',
        'other evaluation file',
        'nothing to evaluate',
        'unusable in evaluation',
        'endless polygon',
        'class without objects',
        'more objects than detections',
    }
    assert {kind for kind, _, _ in CASES} == set(KINDS) - elsewhere


def test_a_sound_data_set_has_no_fault(tmp_path):
    write(tmp_path)
    for name in ('train', 'val and test'):
        assert faults_in(tmp_path, name) == []
    samples = [item['data_samples'] for item in loaded(tmp_path)]
    assert [len(s.gt_instances) for s in samples] == [2, 0]
    assert [len(s.ignored_instances) for s in samples] == [0, 1]
    assert np.isfinite(evaluated(tmp_path)).all()


def test_without_a_class_labels_mean_other_classes(tmp_path):
    write(tmp_path)
    assert loaded(tmp_path)[0]['data_samples'].gt_instances.labels[1] == 5
    write(tmp_path, entry('categories', name='disc'))
    assert loaded(tmp_path)[0]['data_samples'].gt_instances.labels[0] == 4


@pytest.mark.parametrize(
    'kind,change',
    [
        ('no mask', mask(...)),
        ('no mask', polygons()),
        ('unusable in evaluation', polygons([15, 15])),
        ('unusable in evaluation', polygons([])),
        ('wrong field', entry('annotations', iscrowd=...)),
    ],
)
def test_what_stops_the_evaluation_only(kind, change, tmp_path):
    write(tmp_path, change)
    (fault,) = [
        f for f in faults_in(tmp_path, 'val and test') if f.kind == kind
    ]
    assert KINDS[kind].level == 'error' and fault.annotation == 11
    assert stops(evaluated, tmp_path)


@pytest.mark.parametrize(
    'given,form',
    [
        ([10, 10, 30, 30], '(x1, y1, x2, y2)'),
        ([20, 20, 20, 20], '(centre x, centre y, width, height)'),
        ([5, 5, 10, 10], 'pixels of an image of half the size'),
        ([1 / 6, 1 / 4, 1 / 3, 1 / 2], 'shares of the image'),
        ([25, 33, 3, 3], None),
    ],
)
def test_says_in_which_form_a_box_fits_its_mask(given, form, tmp_path):
    write(tmp_path, box(*given))
    (fault,) = [
        f for f in faults_in(tmp_path) if f.kind == 'box of another mask'
    ]
    assert f'bbox {[float(v) for v in given]}' in fault.what
    assert '[10.0, 10.0, 20.0, 20.0]' in fault.what
    assert (
        ('it fits as ' + form in fault.what)
        if form
        else ('it fits' not in fault.what)
    )


def test_a_box_that_is_a_little_loose_is_no_fault(tmp_path):
    write(tmp_path, box(8, 9, 23, 22))
    assert faults_in(tmp_path) == []


def test_crowds_leave_nothing_to_evaluate(tmp_path):
    write(tmp_path, all_crowds)
    (fault,) = faults_in(tmp_path, 'val and test')
    assert fault.kind == 'nothing to evaluate'


def test_a_test_without_figures_needs_no_annotations(tmp_path):
    write(tmp_path, top(annotations=...))
    assert faults_in(tmp_path, 'val and test', metrics=[]) == []
    (fault,) = faults_in(tmp_path, 'val and test')
    assert 'has no annotations' in fault.what


@pytest.mark.parametrize(
    'limits,words',
    [
        (dict(max_detections=1), '2 objects, the model detects at most 1'),
        (dict(max_counted=0), '1 objects of .*, the metrics count 0'),
        (dict(max_detections=2, max_counted=1), None),
    ],
)
def test_objects_beyond_the_counted_detections_are_noted(
    limits, words, tmp_path
):
    write(tmp_path)
    faults = faults_in(tmp_path, 'val and test', **limits)
    assert len(faults) == bool(words)
    for fault in faults:
        assert fault.kind == 'more objects than detections'
        assert fault.image == 1 and re.match(words, fault.what)


def test_the_counted_detections_are_the_metrics():
    options = {
        'val_evaluator.proposal_nums': [10, 300],
        'test_evaluator': dict(type='CocoMetric', proposal_nums=[10, 300]),
        'model.test_cfg.max_per_img': 200,
    }
    splits = dict(splits_of(load_config(SHAPES_CONFIG, options)))
    assert splits['val'].max_counted == 300
    assert splits['test'].max_counted == 100
    assert splits['val'].max_detections == 200


@pytest.mark.parametrize(
    'name,hint',
    [
        ('a\\2.jpg', 'backslashes'),
        ('images/1.jpg', '1.jpg is there: file_name repeats'),
        ('1.JPG', 'there is 1.jpg'),
        ('none.jpg', 'No such file'),
    ],
)
def test_a_missing_image_has_a_hint(name, hint, tmp_path):
    def change(data, folder):
        (folder / 'a').mkdir()
        shutil.copy(folder / '2.jpg', folder / 'a')
        data['images'][0]['file_name'] = name

    write(tmp_path, change)
    (fault,) = [f for f in faults_in(tmp_path) if f.kind == 'missing image']
    assert hint in fault.what


def test_a_byte_order_mark_is_found_before_training_stops(tmp_path):
    write(tmp_path)
    file = tmp_path / 'coco.json'
    file.write_bytes(b'\xef\xbb\xbf' + file.read_bytes())
    (fault,) = faults_in(tmp_path)
    assert fault.kind == 'broken JSON' and 'BOM' in fault.what
    assert stops(loaded, tmp_path)


def test_a_data_set_without_annotations_evaluates_nothing(tmp_path):
    write(tmp_path, top(annotations=[]))
    (fault,) = faults_in(tmp_path, 'val and test')
    assert fault.kind == 'nothing to evaluate'


def test_masks_are_checked_only_where_they_are_used(tmp_path):
    write(tmp_path, mask(...))
    assert faults_in(tmp_path, masks=False) == []
    write(tmp_path, entry('annotations', segmentation=..., area=0))
    kinds = [f.kind for f in faults_in(tmp_path)]
    assert kinds == ['box without area']


def test_where_masks_are_optional_missing_ones_are_counted(
    shapes, tmp_path, command
):
    write(tmp_path, mask(...))
    assert faults_in(tmp_path, masks_optional=True) == []

    def change(annotations):
        for one in annotations[:3]:
            del one['segmentation']

    root = changed(shapes, tmp_path / 'data', change)
    printed, error = command(root)
    assert error is None
    assert 'of them crowds, 3 without a mask: no faults' in printed
    for option in (
        'model.mask_head.type=FCNMaskHead',
        'train_dataloader.dataset.require_masks=True',
        'train_dataloader.dataset.type=CocoDataset',
    ):
        printed, error = command(root, options=[option])
        assert 'ERROR: no mask (3)' in printed and '3 errors' in error


def test_does_not_draw_polygons_that_would_fill_the_memory(tmp_path):
    spikes = [0, 0, 1e6, 1e6] * 40
    write(tmp_path, polygons(spikes))
    kinds = [f.kind for f in faults_in(tmp_path)]
    assert kinds == ['endless polygon']


@pytest.mark.parametrize('seed', range(5))
def test_decodes_run_lengths_as_pycocotools(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((70, 300)) < [0.5, 0.01, 0.99, 0, 1][seed]
    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    runs = decode_counts(rle['counts'].decode())
    flat = mask.ravel(order='F')
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0] * bool(flat[0])
    assert runs == first + np.diff([0, *edges, flat.size]).tolist()


@pytest.mark.parametrize('counts', ['P', 'ab', '0\n', 'é', ' ', 'o' * 9 + '0'])
def test_refuses_malformed_run_lengths(counts):
    assert decode_counts(counts) is None


TRAIN_FILE = 'annotations/instances_train2017.json'


def changed(shapes, root, change):
    """Copy the data of shapes and change the training annotations."""
    shutil.copytree(shapes, root)
    file = root / TRAIN_FILE
    data = json.loads(file.read_text())
    change(data['annotations'])
    file.write_text(json.dumps(data))
    return root


@pytest.fixture
def command(monkeypatch, capsys):
    """A function that runs the command; returns what it printed, and the
    message with which it failed."""

    def run(data_root, *arguments, options=()):
        argv = ['check_dataset.py', SHAPES_CONFIG, *arguments]
        argv += ['--cfg-options', f'data_root={data_root}', *options]
        monkeypatch.setattr('sys.argv', list(map(str, argv)))
        try:
            main()
        except SystemExit as end:
            return capsys.readouterr().out, end.code
        return capsys.readouterr().out, None

    return run


def test_the_command_passes_sound_data(shapes, command):
    printed, error = command(shapes)
    assert error is None
    assert 'train: 12 images' in printed
    assert 'val and test: 5 images' in printed
    assert printed.count('no faults') == 2


def test_notes_are_no_faults(shapes, tmp_path, command):
    def change(annotations):
        annotations[0].update(
            bbox=[-5, -5, 80, 80],
            area=75 * 75,
            iscrowd=0,
            segmentation=[[-5, -5, 75, -5, 75, 75, -5, 75]],
        )

    printed, error = command(changed(shapes, tmp_path / 'data', change))
    assert error is None
    assert 'note: box out of the image (1)' in printed
    assert printed.count('no faults') == 2


def test_the_command_reports_all_faults_at_once_and_fails(
    shapes, tmp_path, command
):
    def change(annotations):
        annotations[0]['segmentation'] = 'x'
        for one in annotations[1:]:
            one['bbox'][2] = 0

    root = changed(shapes, tmp_path / 'data', change)
    count = len(json.loads((root / TRAIN_FILE).read_text())['annotations']) - 1
    (root / 'val2017' / '000000000001.jpg').unlink()
    out = tmp_path / 'faults.txt'
    printed, error = command(root, '--first', 2, '--out', out)
    assert '2 errors' in error
    for words in (
        'ERROR: not a mask (1)',
        f'warning: box without area ({count})',
        f'... and {count - 2} more',
        'ERROR: missing image (1)',
        '000000000001.jpg, image 1: ',
    ):
        assert words in printed
    assert out.read_text().count(', annotation ') == count + 1


def test_faults_of_the_config(shapes, command):
    options = [
        'model.bbox_head.num_classes=5',
        'val_evaluator.ann_file=a.json',
    ]
    printed, _ = command(shapes, options=options)
    assert 'model.bbox_head.num_classes is 5' in printed
    assert 'the evaluator reads a.json' in printed


@pytest.mark.parametrize(
    'option,words',
    [
        ('train_dataloader.dataset.metainfo.classes=cell', "('cell',)"),
        ('train_dataloader.dataset.metainfo.CLASSES=[a]', 'small letters'),
        ('train_dataloader.dataset.type=VOCDataset', 'COCO JSON'),
        ('val_dataloader.dataset.pipeline.0.type=LoadZarr', 'LoadZarr is not'),
        ('val_dataloader.dataset.type=CocoDatset', 'is not registered'),
    ],
)
def test_configs_that_cannot_be_checked(option, words, shapes, command):
    _, error = command(shapes, options=[option])
    assert words in error


def test_a_pipeline_without_masks_is_named(shapes, command):
    option = 'train_dataloader.dataset.pipeline.1.with_mask=False'
    _, error = command(shapes, options=[option])
    assert 'train_dataloader.dataset.pipeline loads no masks' in error


def test_a_config_may_import_a_data_set_of_its_own(shapes, tmp_path):
    """Its custom_imports replace ours, so the command imports ours itself."""
    (tmp_path / 'my_code.py').write_text(
        'from mmdet.datasets import CocoDataset\n'
        'from mmdet.registry import DATASETS\n'
        '@DATASETS.register_module()\n'
        'class Mine(CocoDataset):\n'
        '    pass\n'
    )
    config = tmp_path / 'config.py'
    config.write_text(
        f'_base_ = {str(SHAPES_CONFIG)!r}\n'
        "custom_imports = dict(imports=['my_code'])\n"
        "val_dataloader = dict(dataset=dict(type='Mine'))\n"
    )
    check = commands.command('check_dataset.py', config, '--cfg-options')
    check.append(f'data_root={shapes}')
    done = commands.run(check, tmp_path, PYTHONPATH='.')
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('no faults') == 3
