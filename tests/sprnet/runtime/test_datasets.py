import json

import cv2
import numpy as np
import pytest
from PIL import Image
from support.coco_files import annotation
from support.loaders import ChannelFiles, LoadNumpy

from projects.sprnet.runtime import CheckedCocoDataset

# Files that Pillow does not open, how to load them, and their channels
LOADED = {
    'a.npy': ([dict(type=LoadNumpy)], 30),
    'a.tif': ([dict(type='LoadImageFromFile', color_type='unchanged')], 1),
    'a': (
        [
            dict(type=ChannelFiles),
            dict(type='LoadMultiChannelImageFromFiles'),
        ],
        5,
    ),
}


def dataset(folder, image=(), fields=(), load=(), **options):
    """A data set of one image and one object; ``load`` are the steps that load
    the image."""
    file = folder / 'images' / '1.png'
    file.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(file), np.zeros((40, 60, 3), np.uint8))
    default = dict(id=3, file_name='1.png', height=40, width=60)
    data = dict(
        images=[{**default, **dict(image)}],
        annotations=[annotation(7, 3, **dict(fields))],
        categories=[dict(id=1, name='cell')],
    )
    (folder / 'coco.json').write_text(json.dumps(data))
    return CheckedCocoDataset(
        ann_file='coco.json',
        data_root=str(folder),
        data_prefix=dict(img='images/'),
        pipeline=[
            *(load or [dict(type='LoadImageFromFile')]),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='PackDetInputs', meta_keys=('img_id',)),
        ],
        **{'metainfo': dict(classes=('cell',)), **options},
    )


def test_loads_a_sound_data_set(tmp_path):
    loaded = dataset(tmp_path)[0]
    assert loaded['inputs'].shape == (3, 40, 60)
    assert loaded['data_samples'].img_id == 3
    assert len(loaded['data_samples'].gt_instances) == 1


def test_refuses_to_train_on_objects_without_an_area_only(tmp_path):
    with pytest.raises(ValueError, match='coco.json: all 1 objects have area'):
        dataset(tmp_path, fields=dict(area=0))
    assert dataset(tmp_path, fields=dict(area=0), test_mode=True)[0]
    assert dataset(tmp_path, fields=dict(ignore=True, area=None))[0]


@pytest.mark.parametrize('name', ['../1.png', '{}/1.png', 'http://a/1.png'])
def test_refuses_images_outside_of_the_folder(name, tmp_path):
    Image.new('RGB', (60, 40)).save(tmp_path / '1.png')
    with pytest.raises(ValueError, match='image 3: file_name .* outside'):
        dataset(tmp_path, image=dict(file_name=name.format(tmp_path)))


def test_refuses_a_header_of_more_than_max_pixels(tmp_path):
    with pytest.raises(ValueError, match='image 3.*60 x 40 .*max_pixels'):
        dataset(tmp_path, max_pixels=60 * 40 - 1)[0]
    assert dataset(tmp_path, max_pixels=60 * 40)[0]


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_max_pixels_may_exceed_pillows_own_limit(
    backend, tmp_path, monkeypatch
):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    load = [dict(type='LoadImageFromFile', imdecode_backend=backend)]
    assert dataset(tmp_path, load=load, max_pixels=60 * 40)[0]
    with pytest.raises(ValueError, match='max_pixels=2399'):
        dataset(tmp_path, load=load, max_pixels=60 * 40 - 1)[0]


@pytest.mark.parametrize('name', LOADED)
def test_loads_what_only_the_pipeline_reads(name, tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / 'images'
    folder.mkdir()
    np.save(folder / 'a.npy', rng.random((40, 60, 30), np.float32))
    cv2.imwrite(str(folder / 'a.tif'), rng.random((40, 60)))
    for channel in range(5):
        grey = np.full((40, 60), channel, np.uint8)
        cv2.imwrite(str(folder / f'a_{channel}.png'), grey)
    load, channels = LOADED[name]
    loaded = dataset(tmp_path, dict(file_name=name), load=load)[0]
    assert loaded['inputs'].shape == (channels, 40, 60)
    assert len(loaded['data_samples'].gt_instances) == 1


@pytest.mark.parametrize(
    'image,fields',
    [
        (dict(file_name='2.png'), {}),
        ({}, dict(segmentation=dict(size=[9, 9], counts=[40, 41]))),
    ],
)
def test_names_the_image_that_cannot_be_loaded(image, fields, tmp_path):
    broken = dataset(tmp_path, image, fields)
    with pytest.raises(ValueError, match='coco.json, image 3, .*png: '):
        broken[0]


@pytest.mark.parametrize('poly2mask', [True, False])
@pytest.mark.parametrize('mask', [None, []])
def test_an_object_without_a_mask_keeps_its_box(mask, poly2mask, tmp_path):
    unmasked = dataset(tmp_path, fields=dict(segmentation=mask))
    unmasked.pipeline.transforms[1].poly2mask = poly2mask
    sample = unmasked[0]['data_samples']
    assert sample.gt_instances.bboxes.tensor.tolist() == [[10, 10, 30, 30]]
    assert sample.gt_instances.masks.areas.tolist() == [0]
    assert len(sample.ignored_instances) == 0


def test_masks_may_be_required(tmp_path):
    with pytest.raises(ValueError, match='image 3: .* require_masks=True'):
        dataset(tmp_path, fields=dict(segmentation=[]), require_masks=True)
    assert dataset(tmp_path, require_masks=True)[0]


def test_names_the_image_of_a_broken_annotation(tmp_path):
    with pytest.raises(ValueError, match='coco.json, image 3: '):
        dataset(tmp_path, fields=dict(bbox=[1, 2]))


@pytest.mark.parametrize(
    'metainfo,words',
    [
        (dict(CLASSES=('cell',)), 'classes, in small letters'),
        (dict(classes='cell'), "a single class as classes=.'cell',."),
        (dict(classes=('cell', 'worm')), "categories of the JSON.*'cell'"),
        (dict(classes=('worm',)), "categories of the JSON.*'cell'"),
    ],
)
def test_classes_that_are_not_the_jsons_are_refused(metainfo, words, tmp_path):
    with pytest.raises(ValueError, match=f'coco.json: .*{words}'):
        dataset(tmp_path, metainfo=metainfo)


def test_no_image_after_filtering_is_said(tmp_path):
    filters = dict(filter_empty_gt=True, min_size=100)
    with pytest.raises(ValueError, match="none of its 1 images.*'min_size'"):
        dataset(tmp_path, filter_cfg=filters)


@pytest.mark.parametrize('start', [b'\xef\xbb\xbf', b'\xff', b'[1, ', b'[]'])
def test_a_file_that_is_no_coco_json_is_named(start, tmp_path):
    dataset(tmp_path)
    file = tmp_path / 'coco.json'
    file.write_bytes(start + (file.read_bytes() if start != b'[]' else b''))
    with pytest.raises(ValueError, match=f'{file} is not a COCO JSON: '):
        CheckedCocoDataset(ann_file=str(file), data_prefix=dict(img=''))
