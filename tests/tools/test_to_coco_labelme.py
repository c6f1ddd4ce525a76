"""tools/to_coco.py reads labelme's drawings."""

import numpy as np
from PIL import Image
from support.annotated import (
    HEIGHT,
    MASKS,
    WIDTH,
    convert,
    drawing,
    masks_of,
    painted,
    shape,
)

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
