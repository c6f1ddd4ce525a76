"""tools/check_dataset.py loads images as the config's pipeline does."""

import cv2
import numpy as np
import pytest
from dataset_check.faults import KINDS
from PIL import Image
from support.coco_files import HEIGHT, WIDTH, faults_in, loaded, write
from support.loaders import ChannelFiles, LoadNumpy

SIZE = WIDTH, HEIGHT
FLOATS = np.linspace(0, 1, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
DEEP = np.full((HEIGHT, WIDTH), 1000, np.uint16)
TURNED = Image.Exif()
TURNED[0x0112] = 3
UNCHANGED = dict(color_type='unchanged')
GREY = dict(color_type='grayscale')
PILLOW = dict(imdecode_backend='pillow')


def from_file(**options):
    return [dict(type='LoadImageFromFile', **options)]


def write_one(folder, name, save):
    """Write a sound data set of one image, which ``save(file)`` writes."""

    def change(data, folder):
        save(str(folder / name))
        del data['images'][1]
        data['images'][0]['file_name'] = name
        data['annotations'] = [
            one for one in data['annotations'] if one['image_id'] == 1
        ]

    write(folder, change)


def save_channels(file):
    for channel in range(4):
        cv2.imwrite(f'{file}_{channel}.png', np.uint8(FLOATS * 255))


@pytest.mark.parametrize(
    'load,name,save',
    [
        (
            [dict(type=LoadNumpy)],
            '1.npy',
            lambda file: np.save(file, np.stack([FLOATS] * 9, axis=-1)),
        ),
        (
            from_file(**UNCHANGED),
            '1.tif',
            lambda file: cv2.imwrite(file, FLOATS),
        ),
        (
            [
                dict(type=ChannelFiles),
                dict(type='LoadMultiChannelImageFromFiles'),
            ],
            'site',
            save_channels,
        ),
    ],
)
def test_an_image_that_only_the_pipeline_reads_is_sound(
    load, name, save, tmp_path
):
    write_one(tmp_path, name, save)
    assert faults_in(tmp_path, load=load) == []
    assert loaded(tmp_path, load)
    # as MMDetection's own loader reads it
    assert faults_in(tmp_path) != []


@pytest.mark.parametrize(
    'content,kind', [('no array', 'unreadable image'), (None, 'missing image')]
)
def test_an_image_that_the_pipeline_cannot_load(content, kind, tmp_path):
    write_one(tmp_path, '1.npy', lambda file: np.save(file, FLOATS))
    (tmp_path / '1.npy').unlink()
    if content:
        (tmp_path / '1.npy').write_text(content)
    (fault,) = faults_in(tmp_path, load=[dict(type=LoadNumpy)])
    assert fault.kind == kind and KINDS[kind].level == 'error'
    assert 'Error: ' in fault.what or 'No such file' in fault.what


def saved(mode, **options):
    """A function that saves an image of a mode."""
    return lambda file: Image.new(mode, SIZE, 99).save(file, **options)


@pytest.mark.parametrize(
    'options,mode,name,kind',
    [
        (UNCHANGED, 'L', '1.png', None),
        (GREY, 'L', '1.png', None),
        (PILLOW, 'L', '1.png', 'grey image'),
        (UNCHANGED, 'P', '1.png', 'palette image'),
        ({**PILLOW, **UNCHANGED}, 'P', '1.png', None),
        (UNCHANGED, 'RGBA', '1.png', None),
        (GREY, 'RGBA', '1.png', 'transparent image'),
        (UNCHANGED, 'CMYK', '1.jpg', 'CMYK image'),
        ({**PILLOW, **UNCHANGED}, 'CMYK', '1.jpg', None),
        (GREY, 'I;16', '1.png', '16-bit image'),
        (PILLOW, 'F', '1.tif', 'cut-off values'),
        ({**PILLOW, **UNCHANGED}, 'F', '1.tif', None),
    ],
)
def test_says_what_the_pipeline_changes(options, mode, name, kind, tmp_path):
    write_one(tmp_path, name, saved(mode))
    kinds = [f.kind for f in faults_in(tmp_path, load=from_file(**options))]
    assert kinds == ([kind] if kind else [])


@pytest.mark.parametrize(
    'options,kind',
    [
        ({}, 'EXIF-rotated image'),
        (PILLOW, 'EXIF-rotated image'),
        (UNCHANGED, None),
        (dict(color_type='color_ignore_orientation'), None),
    ],
)
def test_says_whether_the_pipeline_rotates(options, kind, tmp_path):
    def save(file):
        picture = Image.new('RGB', SIZE)
        picture.putpixel((0, 0), (255, 255, 255))
        picture.save(file, exif=TURNED)

    write_one(tmp_path, '1.png', save)
    load = from_file(**options)
    kinds = [f.kind for f in faults_in(tmp_path, load=load)]
    assert kinds == ([kind] if kind else [])
    image = loaded(tmp_path, load)[0]['inputs'].numpy()
    assert image[0, 0, 0] == (0 if kind else 255)


@pytest.mark.parametrize(
    'options,kind,value',
    [
        ({}, '16-bit image', 1000 // 256),
        (dict(to_float32=True), '16-bit image', 1000 // 256),
        (PILLOW, 'cut-off values', 255),
        (UNCHANGED, None, 1000),
        ({**PILLOW, **UNCHANGED}, None, 1000),
    ],
)
def test_says_what_becomes_of_16_bits(options, kind, value, tmp_path):
    write_one(tmp_path, '1.png', lambda file: cv2.imwrite(file, DEEP))
    load = from_file(**options)
    kinds = [f.kind for f in faults_in(tmp_path, load=load)]
    assert kinds == ([kind] if kind else [])
    assert (loaded(tmp_path, load)[0]['inputs'].numpy() == value).all()


def test_steps_of_ones_own_are_not_said_to_change_anything(tmp_path):
    def save(file):
        for name in ('1.png', '1_0.png', '1_1.png', '1_2.png'):
            cv2.imwrite(str(tmp_path / name), np.uint8(FLOATS * 255))

    write_one(tmp_path, '1.png', save)
    assert [f.kind for f in faults_in(tmp_path)] == ['grey image']
    load = [
        dict(type=ChannelFiles),
        dict(type='LoadMultiChannelImageFromFiles'),
    ]
    assert faults_in(tmp_path, load=load) == []


def test_the_limit_of_the_data_set_wins_over_pillows(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    write(tmp_path)
    pixels = WIDTH * HEIGHT
    assert faults_in(tmp_path, max_pixels=pixels) == []
    kinds = {f.kind for f in faults_in(tmp_path, max_pixels=pixels - 1)}
    assert kinds == {'image too large'}
