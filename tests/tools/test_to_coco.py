"""tools/to_coco.py: every form becomes the same masks; the rest is named."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import to_coco
from conversion.data_set import split
from conversion.label_images import run_lengths
from conversion.pictures import Picture
from PIL import Image
from pycocotools import mask as coco_mask
from support.annotated import (
    HEIGHT,
    MASKS,
    WIDTH,
    assert_whole,
    convert,
    numbers,
    picture,
    write_numbers,
)
from support.in_process import complaint

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
    assert 'label images: 7 pictures read, 0 files left out' in printed
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
        *('unlabelled', 'broken', 'half'),
    ):
        picture(source / 'images' / f'{name}.jpg')
    (source / 'labels' / 'text.png').write_text('no image')
    (source / 'images' / 'broken.jpg').write_text('no image')
    shutil.copy(source / 'labels/good.png', source / 'labels/broken.png')
    half = source / 'images' / 'half.jpg'
    half.write_bytes(half.read_bytes()[:-200])
    shutil.copy(source / 'labels/good.png', source / 'labels/half.png')
    parts, left_out = convert(source, tmp_path / 'out', '--val', 0)
    images = parts['train'].imgs.values()
    assert {i['file_name'] for i in images} == {'good.jpg', 'part.jpg'}
    labels = source / 'labels'
    expected = {
        'images/broken.jpg': f'its image {source}/images/broken.jpg cannot be',
        'images/float.jpg': f'its mask image {labels}/float.tif holds float32',
        'images/half.jpg': f'its image {half} is damaged: image file is trunc',
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


@pytest.mark.parametrize('colour,count', [([224, 224, 192], 4), ([9] * 3, 5)])
def test_the_border_of_pascal_voc_is_no_object(colour, count, tmp_path):
    values = numbers().astype(np.uint8)
    values[70:, 40:50] = 255
    image = Image.fromarray(values).convert('P')
    image.putpalette([*range(255)] * 3 + colour)
    image.putdata(values.ravel().tolist())
    (tmp_path / 'in' / 'masks').mkdir(parents=True)
    image.save(tmp_path / 'in' / 'masks' / 'a.png')
    picture(tmp_path / 'in' / 'images' / 'a.jpg')
    parts, left_out = convert(tmp_path / 'in', tmp_path / 'out', '--val', 0)
    assert not left_out and len(parts['train'].anns) == count


@pytest.mark.parametrize('names', [['disc', 'box'], ['class 1', 'class 2']])
def test_masks_of_classes(names, tmp_path, capsys):
    source = tmp_path / 'in'
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    for left in (5, 30, 60):
        values[5:20, left : left + 15] = 1
        values[40:60, left : left + 15] = 2
    for name in 'ab':
        write_numbers(source / 'masks' / f'{name}.png', values)
        picture(source / 'images' / f'{name}.jpg')
    convert(source, tmp_path / 'one', '--val', 0)
    assert '2 label images with one number for' in capsys.readouterr().out
    more = ['--classes', *names] if names[0] == 'disc' else []
    out = tmp_path / 'two'
    parts, left_out = convert(source, out, '--val', 0, '--semantic', *more)
    assert not left_out and 'one number' not in capsys.readouterr().out
    coco = parts['train']
    assert [c['name'] for c in coco.dataset['categories']] == names
    numbers_of = sorted(a['category_id'] for a in coco.anns.values())
    assert numbers_of == [1] * 6 + [2] * 6
    assert {a['area'] for a in coco.anns.values()} == {225, 300}


def test_pictures_of_several_pages_and_rare_endings(tmp_path, capsys):
    source, page = tmp_path / 'in', Image.new('RGB', (WIDTH, HEIGHT))
    (source / 'images').mkdir(parents=True)
    for name in ('a.tif', 'b.jfif', 'c.gif', 'd.avif', 'e.png'):
        write_numbers(source / 'masks' / f'{name[0]}.png', LABELS['a.png'])
        file = source / 'images' / name
        more = dict(format='JPEG') if name == 'b.jfif' else {}
        if name == 'a.tif':
            more = dict(save_all=True, append_images=[page] * 2)
        if name == 'd.avif':
            file.write_text('no image')
        else:
            page.save(file, **more)
    parts, left_out = convert(source, tmp_path / 'out', '--val', 0)
    used = {i['file_name'] for i in parts['train'].imgs.values()}
    named = {Path(line.split(': ')[0]).name for line in left_out}
    assert used | named == {'a.tif', 'b.jfif', 'c.gif', 'd.avif', 'e.png'}
    assert {'a.tif', 'b.jfif', 'e.png'} <= used and 'd.avif' in named
    assert '1 pictures of several pages, of which' in capsys.readouterr().out


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


def test_one_picture_less_moves_at_most_one_other():
    pictures = [(Picture(Path(f'{n}.png'), 9, 9, []), None) for n in range(50)]
    val = {p.path for p in split(pictures, 0.2)['val']}
    assert len(val) == 10
    fewer = [pair for pair in pictures if pair[0].path not in (*val,)[:1]]
    assert len(val - {p.path for p in split(fewer, 0.2)['val']}) == 1
    assert val != {pair[0].path for pair in pictures[:10]}


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
    write_numbers(source / 'labels' / 'gone.png', numbers().astype(np.uint8))
    message = complaint(to_coco, source, out)
    assert '1 left out, such as' in message and 'gone.png' in message


@pytest.mark.parametrize(
    'folders,used,words',
    [
        (['train', 'test'], 'train', '5 pictures of a folder test are not'),
        (['Train', 'Test'], 'Train', '5 pictures of a folder test are not'),
        (['', 'test'], '', '5 pictures of a folder test are not used'),
        (['val', 'test'], 'val', 'train and val are chosen from val'),
        (['test'], 'test', 'train and val are chosen from test'),
        (['train'], 'train', 'val: 1 pictures'),
        (['', 'train'], '/train', '5 pictures of other folders count as trai'),
        (['train', 'dev'], 'train', 'val: 5 pictures'),
        (['training', 'validation', ''], 'training/', 'val: 5 pictures'),
        (['../photos/train', '../photos/test'], 'train', 'are not used'),
    ],
)
def test_a_split_of_the_user_is_kept(folders, used, words, tmp_path, capsys):
    source, more = tmp_path / 'in', []
    for folder in folders:
        for n in range(5):
            name = f'{folder.rpartition("/")[2]}{n}'
            images = source / ('' if '..' in folder else 'images') / folder
            picture(images / f'{name}.jpg')
            file = source / 'labels' / images.name / f'{name}.png'
            if not folder:
                file = source / 'labels' / f'{name}.png'
            write_numbers(file, numbers().astype(np.uint8))
    if '..' in folders[0]:
        more = ['--images', tmp_path / 'photos']
        source = source / 'labels'
    parts, left_out = convert(source, tmp_path / 'out', *more)
    assert not left_out and words in capsys.readouterr().out
    names = {i['file_name'][:-5] for i in parts['train'].imgs.values()}
    assert names == set(used.split('/'))
