"""tools/to_coco.py reads COCO's JSONs as other tools write them."""

import json

import numpy as np
from support.annotated import (
    HEIGHT,
    MASKS,
    WIDTH,
    assert_whole,
    convert,
    picture,
)


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


def test_ids_that_do_not_fit_are_named(tmp_path):
    source = tmp_path / 'in'
    names = ['0.jpg', '1.jpg', '2.jpg']
    for name in names:
        picture(source / name)
    coco_json(source / 'a.json', names, [])
    data = json.loads((source / 'a.json').read_text())
    data['images'][2]['id'] = 1
    triangle = dict(category_id=1, segmentation=[[0, 0, 9, 0, 9, 9]])
    data['annotations'] = [
        dict(triangle, id=n, image_id=n) for n in (0, 1, 7, 8)
    ]
    (source / 'a.json').write_text(json.dumps(data))
    (source / 'b.json').write_text('{"images": [3], "annotations": [{}]}')
    parts, left_out = convert(source, tmp_path / 'out', '--val', 0)
    (image,) = parts['train'].imgs.values()
    assert image['file_name'] == '0.jpg' and len(parts['train'].anns) == 1
    assert left_out == [
        f'{source}/a.json/1.jpg: several images have its id 1',
        f'{source}/a.json/2.jpg: several images have its id 1',
        f'{source}/a.json: 2 annotations belong to no image: image_id 7, 8',
        f"{source}/b.json: it is not a COCO JSON: KeyError('categories')",
    ]
