"""tools/to_coco.py: every form becomes the same masks; the rest is named."""

import json
import shutil

import cv2
import numpy as np
import pytest
import to_coco
from conversion.label_images import run_lengths
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from support.annotated import (
    HEIGHT,
    WIDTH,
    drawing,
    numbers,
    painted,
    picture,
    shape,
)
from support.in_process import complaint, run_command

MASKS = [numbers() == n for n in (1, 2, 5, 9)]


def convert(source, out, *arguments):
    """The data sets of train and val, and what was left out."""
    left_out = []
    try:
        run_command(to_coco, source, out, *arguments)
    except SystemExit as end:
        first, *left_out = end.code.splitlines()
        assert first == 'to_coco.py: left out:'
    return {f.stem: COCO(f) for f in sorted(out.glob('*.json'))}, left_out


def masks_of(coco, name):
    (image,) = [i for i in coco.imgs.values() if i['file_name'] == name]
    return [coco.annToMask(a) for a in coco.imgToAnns[image['id']]]


def assert_whole(coco, name, expected=MASKS):
    """A picture's masks, boxes and areas are as drawn."""
    masks = masks_of(coco, name)
    assert len(masks) == len(expected)
    for mask, drawn in zip(masks, expected):
        assert np.array_equal(mask, drawn)
    for one in coco.anns.values():
        mask = coco.annToMask(one)
        assert one['area'] == mask.sum() and one['iscrowd'] == 0
        x, y, width, height = map(int, one['bbox'])
        assert mask[y : y + height, x : x + width].any(1).all()
        assert mask[y : y + height, x : x + width].sum() == mask.sum()


def write_numbers(file, values=None):
    values = numbers() if values is None else values
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == '.npy':
        np.save(file, values)
    else:
        Image.fromarray(values).save(file)


LABELS = {
    'a.png': numbers().astype(np.uint8),
    'b.png': numbers().astype(np.uint16) * 1000,
    'c.tif': numbers().astype(np.int32) * 100_000,
    'd.tiff': numbers().astype(np.float32),
    'e.npy': numbers().astype(np.uint32),
    'f_masks.png': np.stack([numbers().astype(np.uint8)] * 3, axis=2) * 20,
}


def test_label_images_of_every_type(tmp_path, capsys):
    source, out = tmp_path / 'cells', tmp_path / 'out'
    for name, values in LABELS.items():
        write_numbers(source / 'masks' / name, values)
        picture(source / 'images' / f'{name[0]}.jpg')
    image = Image.fromarray(numbers().astype(np.uint8)).convert('P')
    image.putpalette([200, 30, 30] * 256)  # the numbers count, not the colours
    image.putdata(numbers().ravel().tolist())
    image.save(source / 'masks' / 'g.png')
    picture(source / 'images' / 'g.jpg')
    parts, left_out = convert(source, out, '--classes', 'cell', '--val', 0.3)
    assert not left_out
    counts = {name: len(coco.imgs) for name, coco in parts.items()}
    assert counts == {'train': 5, 'val': 2}
    for name, coco in parts.items():
        assert [c['name'] for c in coco.dataset['categories']] == ['cell']
        for one in coco.imgs.values():
            assert_whole(coco, one['file_name'])
            copy = out / name / one['file_name']
            original = source / 'images' / one['file_name']
            assert copy.read_bytes() == original.read_bytes()
    preview = cv2.imread(str(out / 'preview.jpg'))
    assert preview.shape[1] == 3 * 480 and preview.std() > 20
    printed = capsys.readouterr().out
    assert 'label images: 7 of 7 read' in printed
    assert "class 1: 'cell', 20 in train, 8 in val" in printed
    assert f'next: python tools/new_config.py {out}\n' in printed


def test_run_lengths_are_those_of_each_mask():
    rng = np.random.default_rng(0)
    values = rng.integers(-2, 4, (17, 23))
    for image in (values, np.zeros((3, 4), int), np.full((3, 4), 7)):
        found = run_lengths(image)
        expected = [image == n for n in np.unique(image) if n]
        assert len(found) == len(expected)
        for rle, mask in zip(found, expected):
            assert np.array_equal(coco_mask.decode(rle), mask)


@pytest.mark.parametrize(
    'pictures,labels,more',
    [
        ('images/{}.jpg', 'labels/{}.png', []),
        ('train/images/{}.jpg', 'train/masks/{}.png', []),
        ('{}.jpg', '{}_cp_masks.png', []),
        ('../photos/{}.jpg', '{}.png', ['--images', 'photos']),
    ],
)
def test_places_of_label_images(pictures, labels, more, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source, out = tmp_path / 'cells', tmp_path / 'out'
    for name in 'ab':
        write_numbers(source / labels.format(name), numbers().astype(np.uint8))
        picture(source / pictures.format(name))
    parts, left_out = convert(source, out, *more, '--val', 0)
    assert not left_out and list(parts) == ['train']
    assert_whole(parts['train'], 'a.jpg')
    assert_whole(parts['train'], 'b.jpg')


def test_label_images_that_do_not_fit_are_named(tmp_path, capsys):
    source = tmp_path / 'cells'
    small = numbers().astype(np.uint8)
    for name, values in {
        'good.png': small,
        'part.png': (small > 0).astype(np.uint8) * 255,
        'size.png': small[:50],
        'float.tif': small + np.float32(0.5),
        'text.png': small,
        'lossy.jpg': small,
        'twice.png': small,
        'twice_mask.png': small,
        'alone.png': small,
    }.items():
        write_numbers(source / 'labels' / name, values)
    for name in (
        *('good', 'part', 'size', 'float', 'text', 'lossy', 'twice'),
        *('unlabelled', 'broken'),
    ):
        picture(source / 'images' / f'{name}.jpg')
    (source / 'labels' / 'text.png').write_text('no image')
    (source / 'images' / 'broken.jpg').write_text('no image')
    shutil.copy(source / 'labels/good.png', source / 'labels/broken.png')
    parts, left_out = convert(source, tmp_path / 'out', '--val', 0)
    images = parts['train'].imgs.values()
    assert {i['file_name'] for i in images} == {'good.jpg', 'part.jpg'}
    labels = source / 'labels'
    expected = {
        'images/broken.jpg': f'its image {source}/images/broken.jpg cannot be',
        'images/float.jpg': f'its mask image {labels}/float.tif holds float32',
        'images/lossy.jpg': f'its mask image {labels}/lossy.jpg has a lossy',
        'images/size.jpg': f'its label image {labels}/size.png has 100 x 50',
        'images/text.jpg': f'its mask image {labels}/text.png cannot be read',
        'images/twice.jpg': f'{labels}/twice.png and {labels}/twice_mask.png',
        'images/unlabelled.jpg': 'it has no label image',
        'labels/alone.png': 'no picture has its name',
    }
    assert len(left_out) == len(expected)
    for line, (name, words) in zip(left_out, expected.items()):
        assert line.startswith(f'{source}/{name}: {words}'), line
    words = '1 label images with one number for several separate parts'
    assert words in capsys.readouterr().out


def test_a_mask_for_each_object(tmp_path, capsys):
    source = tmp_path / 'stage1_train'
    for name in ('01', '02', '03', '04'):
        picture(source / name / 'images' / f'{name}.png')
        for n, mask in enumerate(MASKS):
            file = source / name / 'masks' / f'{n}.png'
            write_numbers(file, mask.astype(np.uint8) * 255)
    write_numbers(source / '02/masks/9.png', np.zeros((HEIGHT, WIDTH), '?'))
    write_numbers(source / '03/masks/9.png', np.ones((9, 9), np.uint8))
    shutil.rmtree(source / '04' / 'masks')
    parts, left_out = convert(source, tmp_path / 'out', '--val', 0)
    for name in ('01.png', '02.png'):
        assert_whole(parts['train'], name)
    assert len(parts['train'].imgs) == 2
    assert left_out == [
        f'{source}/03: its mask {source}/03/masks/9.png has 9 x 9 pixels, but '
        'the image has 100 x 80',
        f'{source}/04: it has no folder masks/',
    ]
    assert '1 masks without a pixel' in capsys.readouterr().out


SQUARE = [[5, 5], [45, 5], [45, 30], [5, 30]]


def test_shapes_of_labelme_become_masks(tmp_path):
    corners = [[10.5, 10.5], [60.5, 20.5], [30.5, 70.5]]
    drawing(
        tmp_path / 'in',
        'all',
        [
            shape('a', corners),
            shape('c', [[50, 40], [50, 65]], 'circle'),
            shape('c', [[95, 20], [5, 5]], 'rectangle'),
            shape('b', [[2, 60], [12, 60], [12, 70], [2, 70]], group=7),
            shape('b', [[80, 60], [90, 60], [90, 70], [80, 70]], group=7),
            shape('a', [[85, 5], [95, 15]], 'rectangle', group=7),
            shape('d', [[20, 5], [35, 20], [20, 35], [5, 20]], 'rotation'),
            *(painted('d', mask) for mask in MASKS),
        ],
    )
    parts, left_out = convert(tmp_path / 'in', tmp_path / 'out', '--val', 0)
    coco = parts['train']
    assert not left_out
    names = {c['id']: c['name'] for c in coco.dataset['categories']}
    assert names == {1: 'a', 2: 'b', 3: 'c', 4: 'd'}
    labels = [names[a['category_id']] for a in coco.anns.values()]
    assert labels == list('accbaddddd')
    x, y = np.meshgrid(np.arange(100) + 0.5, np.arange(80) + 0.5)
    triangle = np.ones((80, 100), bool)
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1]):
        triangle &= (x2 - x1) * (y - y1) >= (y2 - y1) * (x - x1)
    expected = [
        triangle,
        (x - 50) ** 2 + (y - 40) ** 2 <= 25**2,
        (x > 5) & (x < 95) & (y > 5) & (y < 20),
        ((abs(x - 7) < 5) | (abs(x - 85) < 5)) & (y > 60) & (y < 70),
        (x > 85) & (x < 95) & (y > 5) & (y < 15),
        abs(x - 20) + abs(y - 20) < 15,
    ]
    found = masks_of(coco, 'all.jpg')
    for mask, drawn in zip(found, expected):
        assert (drawn & mask).sum() / (drawn | mask).sum() > 0.93
    for mask, drawn in zip(found[6:], MASKS):
        assert np.array_equal(mask, drawn)


def square(left, top, right, bottom, **fields):
    return shape('a', [[left, top], [right, bottom]], 'rectangle', **fields)


def test_holes_of_a_group_are_kept(tmp_path):
    inner = np.zeros((HEIGHT, WIDTH), bool)
    inner[55:65, 25:35] = True
    drawing(
        tmp_path / 'in',
        'a',
        [
            # in no order: a hole, its ring, an island in the hole, a part that
            # overlaps the ring, and a hole painted by a brush
            square(10, 10, 30, 30, group=1),
            square(0, 0, 40, 40, group=1),
            square(15, 15, 20, 20, group=1),
            square(30, 30, 50, 50, group=1),
            square(20, 50, 40, 70, group=2),
            painted('a', inner) | dict(group_id=2),
            # an object in the hole that belongs to no group
            square(11, 11, 14, 14),
        ],
    )
    parts, _ = convert(tmp_path / 'in', tmp_path / 'out', '--val', 0)
    first, second, third = masks_of(parts['train'], 'a.jpg')
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[:40, :40] = expected[30:50, 30:50] = True
    expected[10:30, 10:30] = False
    expected[15:20, 15:20] = True
    assert np.array_equal(first, expected)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[50:70, 20:40] = True
    assert np.array_equal(second, expected & ~inner)
    assert third.sum() == 9


def test_paths_sizes_and_rotations_of_drawings(tmp_path):
    source = tmp_path / 'in'
    drawing(source, 'none', [])
    elsewhere = (source / 'none.jpg').rename(tmp_path / 'linked.jpg')
    (source / 'none.jpg').symlink_to(elsewhere)
    # In a subfolder, on Windows, by an old version without types and sizes
    old = shape('a', SQUARE)
    del old['shape_type'], old['group_id']
    file = drawing(
        source / 'sub',
        'old',
        [old, shape('a', [[-9, 60], [20, 60], [20, 90]])],
        imagePath='..\\sub\\old.jpg',
        imageHeight=None,
        imageWidth=None,
    )
    file.write_bytes(b'\xef\xbb\xbf' + file.read_bytes())
    drawing(source, 'turned', [shape('b', SQUARE)], 100, 80)
    turned = Image.open(source / 'turned.jpg')
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.resize((100, 80)).save(source / 'turned.jpg', exif=exif)
    drawing(source / 'other', 'old', [])
    names = ['--classes', 'b', 'a', '--val', 0]
    parts, left_out = convert(source, tmp_path / 'out', *names)
    coco = parts['train']
    assert not left_out
    assert [c['name'] for c in coco.dataset['categories']] == ['b', 'a']
    images = {i['file_name']: i for i in coco.imgs.values()}
    assert images.keys() == {
        *('none.jpg', 'sub/old.jpg', 'other/old.jpg', 'turned.jpg')
    }
    for name in images:
        assert (tmp_path / 'out' / 'train' / name).is_file()
    turned = images['turned.jpg']
    assert (turned['height'], turned['width']) == (100, 80)
    assert coco.imgToAnns[images['none.jpg']['id']] == []
    over_the_edge = coco.imgToAnns[images['sub/old.jpg']['id']][1]
    assert over_the_edge['bbox'] == [0, 60, 20, 20]


def test_bad_drawings_are_left_out_and_named(tmp_path):
    folder = tmp_path / 'set'
    drawing(folder, 'good', [shape('a', SQUARE)])
    broken = painted('a', MASKS[0]) | dict(mask='no picture')
    for name, shapes, fields in (
        ('area', [shape('a', SQUARE[:2])], {}),
        ('far', [shape('a', [[500, 5], [600, 5], [600, 9]])], {}),
        ('gone', [], dict(imagePath='nowhere.jpg')),
        ('label', [shape('x', SQUARE)], {}),
        ('line', [shape('a', SQUARE), shape('a', SQUARE, 'line')], {}),
        ('mask', [broken], {}),
        ('other', [], dict(imagePath=None)),
        ('size', [], dict(imageHeight=100, imageWidth=80)),
    ):
        drawing(folder, name, shapes, **fields)
    (folder / 'text.json').write_text('no JSON')
    (folder / 'gbk.json').write_text('细胞', encoding='gbk')
    (folder / 'copy.json').write_text((folder / 'good.json').read_text())
    parts, left_out = convert(
        folder, tmp_path / 'out', '--classes', 'a', '--val', 0
    )
    images = parts['train'].imgs.values()
    assert [i['file_name'] for i in images] == ['good.jpg']
    expected = dict(
        area='a polygon of 2 points has no area',
        far="an object 'a' covers no pixel of the image",
        gbk="it is not in labelme's encoding, UTF-8; convert it",
        gone=f'its image {folder}/nowhere.jpg is missing or empty',
        good=f'its image belongs to {folder}/copy.json already',
        label="labels ['x'] are not in --classes",
        line='a line does not outline an object',
        mask='a mask cannot be read: ',
        other='it does not have the form of labelme: AttributeError',
        size='it was drawn on 80 x 100 pixels, but its image has 100 x 80',
        text='it does not have the form of labelme: JSONDecodeError',
    )
    assert len(left_out) == len(expected)
    for line, (name, words) in zip(left_out, expected.items()):
        assert line.startswith(f'{folder / name}.json: {words}'), line


def test_labels_as_people_write_them(tmp_path, capsys):
    drawing(tmp_path / 'in', 'a', [shape('cell', SQUARE), shape(7, SQUARE)])
    other = [shape('Cell ', SQUARE), shape('__ignore__', SQUARE)]
    drawing(tmp_path / 'in', 'b', other)
    convert(tmp_path / 'in', tmp_path / 'out', '--val', 0)
    printed = capsys.readouterr().out
    assert "class 1: '7', 1 in train" in printed
    assert "'Cell ', 'cell' may mean the same" in printed


def coco_json(file, names, annotations, categories=('a', 'b'), first_id=1):
    """Write a COCO JSON of pictures with the same annotations each."""
    images = [
        dict(id=n, file_name=name, height=HEIGHT, width=WIDTH)
        for n, name in enumerate(names)
    ]
    anns = [
        dict(id=len(annotations) * i['id'] + n, image_id=i['id'], **one)
        for i in images
        for n, one in enumerate(annotations, 1)
    ]
    data = dict(
        images=images,
        annotations=anns,
        categories=[
            dict(id=n, name=name)
            for n, name in enumerate(categories, first_id)
        ],
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data))


def plain_rle(mask):
    """Uncompressed run lengths, as CVAT writes them."""
    flat = np.flatnonzero(np.diff(mask.ravel('F'), prepend=0, append=0))
    counts = np.diff(np.array([0, *flat, mask.size]))
    return dict(size=[HEIGHT, WIDTH], counts=counts.tolist())


def test_cvats_export(tmp_path, capsys):
    source = tmp_path / 'cvat'
    picture(source / 'images' / 'default' / 'a.jpg')
    picture(source / 'images' / 'default' / 'b.jpg')
    brush = [
        dict(
            category_id=1,
            segmentation=plain_rle(mask.astype(int)),
            iscrowd=1,
            attributes=dict(occluded=False),
        )
        for mask in MASKS
    ]
    coco_json(
        source / 'annotations' / 'instances_default.json',
        ['a.jpg', 'b.jpg'],
        brush,
        'zy',
    )
    parts, left_out = convert(source, tmp_path / 'out', '--val', 0)
    assert not left_out
    coco = parts['train']
    assert [c['name'] for c in coco.dataset['categories']] == ['z', 'y']
    assert_whole(coco, 'b.jpg')
    assert '8 brush masks of CVAT' in capsys.readouterr().out


def test_label_studios_export(tmp_path, capsys):
    source = tmp_path / 'project'
    for name in ('1a-x.jpg', '2b-y.jpg'):
        picture(source / 'images' / name)
    corners = [[0, 0, 10, 0, 10, 10, 0, 10], [50, 50, 60, 50, 60, 60, 50, 60]]
    box = [5, 5, 20, 30]
    annotations = [
        dict(category_id=0, segmentation=corners, bbox=[0, 0, 60, 60]),
        dict(category_id=1, segmentation=[], bbox=box, iscrowd=0),
        dict(category_id=0, segmentation=corners[:1], iscrowd=1),
    ]
    names = ['images\\1a-x.jpg', '../media/upload/3/2b-y.jpg']
    coco_json(source / 'result.json', names, annotations, first_id=0)
    parts, left_out = convert(source / 'result.json', tmp_path / 'out')
    assert not left_out
    for coco in parts.values():
        two, boxed, _ = coco.anns.values()
        assert coco.annToMask(two).sum() == two['area'] == 200
        assert boxed['bbox'] == box and 'segmentation' not in boxed
        assert (boxed['category_id'], boxed['area']) == (2, 600)
        crowds = [one['iscrowd'] for one in coco.anns.values()]
        assert crowds == [0, 0, 1]
    assert '2 pictures with objects that have a box' in capsys.readouterr().out


def test_a_split_into_folders_is_kept(tmp_path):
    source = tmp_path / 'export'
    one = [dict(category_id=1, segmentation=[[0, 0, 9, 0, 9, 9]])]
    for part in ('train', 'valid', 'test'):
        picture(source / part / 'a.jpg')
        coco_json(source / part / '_annotations.coco.json', ['a.jpg'], one)
    parts, left_out = convert(source, tmp_path / 'out')
    assert not left_out and parts.keys() == {'train', 'val'}
    for part, folder in (('train', 'train'), ('val', 'valid')):
        (image,) = parts[part].imgs.values()
        assert image['file_name'] == f'{folder}/a.jpg'


def test_bad_coco_annotations_are_named(tmp_path):
    source = tmp_path / 'in'
    names = [f'{n}.jpg' for n in range(7)]
    for name in names[:6]:
        picture(source / name)
    coco_json(source / 'all.json', names, [])
    data = json.loads((source / 'all.json').read_text())
    good = dict(category_id=1, segmentation=[[0, 0, 9, 0, 9, 9]])
    for n, change in enumerate(
        (
            {},
            dict(category_id=9),
            dict(segmentation=[[0, 0, 9, 9]]),
            dict(segmentation=dict(size=[9, 9], counts=[81])),
            dict(segmentation=dict(size=[HEIGHT, WIDTH], counts='!')),
            dict(segmentation=[[0, 0, 1e12, 0, 1e12, 1e12]]),
        )
    ):
        data['annotations'].append(dict(good, **change, id=n, image_id=n))
    (source / 'all.json').write_text(json.dumps(data))
    parts, left_out = convert(source, tmp_path / 'out', '--val', 0)
    images = parts['train'].imgs.values()
    assert [i['file_name'] for i in images] == ['0.jpg']
    for line, words in zip(
        left_out,
        (
            'annotation 1 has category_id 9, which is no category of the JSON',
            'annotation 2: a mask is no COCO mask: a polygon of 4 coordinates',
            'annotation 3: a mask is no COCO mask: an RLE of [9, 9] in an ',
            'annotation 4: a mask is no COCO mask: its counts are not run',
            'annotation 5: a mask is no COCO mask: an outline of 3e+12 pixels',
            'no picture has the name 6.jpg; export the pictures as well',
        ),
        strict=True,
    ):
        assert words in line, line


def test_wrong_arguments_get_one_sentence(tmp_path):
    source, out = tmp_path / 'in', tmp_path / 'out'
    picture(source / 'images' / 'a.jpg')
    write_numbers(source / 'labels' / 'a.png', numbers().astype(np.uint8))
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'train.json').write_text('')
    for arguments, words in (
        ([source, tmp_path / 'full'], f'{tmp_path}/full is not empty'),
        ([source / 'images', out], f'{source}/images holds none of these: '),
        ([source, out, '--classes', 'a', 'b'], '--classes a b: masks without'),
        ([source, out, '--val', 2], 'argument --val: 2 '),
        ([source, out], '1 pictures cannot be split with --val 0.2'),
    ):
        assert words in complaint(to_coco, *arguments)
