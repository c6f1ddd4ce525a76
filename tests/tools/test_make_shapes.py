import json
import sys

import cv2
import numpy as np
import pytest
from make_shapes import main, polygons, uncompressed_rle
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from shapes_data.scenes import CLASSES, draw_scene

OPTIONS = dict(train=12, val=5, size=96)  # of the fixture `shapes`


@pytest.fixture
def make(monkeypatch, capsys):
    """Run the command; its end and what it printed."""

    def run(out, **options):
        words = [f'--{name}={value}' for name, value in options.items()]
        monkeypatch.setattr(sys, 'argv', ['make_shapes.py', str(out), *words])
        end = None
        try:
            main()
        except SystemExit as stop:
            end = stop.code
        return end, ''.join(capsys.readouterr())

    return run


def scenes(seed, number):
    """Instances of several scenes of 96 pixels."""
    return [
        draw_scene(np.random.default_rng([seed, i]), 96)[1]
        for i in range(number)
    ]


def test_the_same_options_make_the_same_data(make, tmp_path, shapes):
    again = tmp_path / 'again'
    assert make(again, **OPTIONS)[0] is None
    files = sorted(p.relative_to(shapes) for p in shapes.rglob('*.*'))
    assert len(files) == 12 + 5 + 3
    for file in files:
        assert (again / file).read_bytes() == (shapes / file).read_bytes()
    other = draw_scene(np.random.default_rng([1, 0, 1]), 96)[0]
    first = cv2.imread(str(shapes / 'train2017' / '000000000001.jpg'))
    assert np.abs(first.astype(int) - other).mean() > 5


def test_fewer_pictures_are_the_first_of_more(make, tmp_path, shapes):
    # What a killed run left is made anew.
    (tmp_path / 'few.unfinished' / 'train2017').mkdir(parents=True)
    end, _ = make(tmp_path / 'few', **{**OPTIONS, 'train': 3, 'val': 1})
    assert end is None
    assert not (tmp_path / 'few.unfinished').exists()
    few, many = (d / 'train2017' for d in (tmp_path / 'few', shapes))
    assert sorted(p.name for p in few.iterdir()) == [
        f'{n:012d}.jpg' for n in (1, 2, 3)
    ]
    for picture in few.iterdir():
        assert picture.read_bytes() == (many / picture.name).read_bytes()


@pytest.mark.parametrize('split,count', [('train2017', 12), ('val2017', 5)])
def test_annotations_are_what_coco_reads(shapes, split, count):
    coco = COCO(shapes / 'annotations' / f'instances_{split}.json')
    assert len(coco.imgs) == count
    assert [c['name'] for c in coco.dataset['categories']] == list(CLASSES)
    assert len(coco.anns) > count
    for one in coco.anns.values():
        mask = coco.annToMask(one)
        assert mask.shape == (96, 96)
        assert mask.sum() == one['area'] > 0
        y, x = np.nonzero(mask)
        assert one['bbox'] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]
    for image in coco.imgs.values():
        picture = cv2.imread(str(shapes / split / image['file_name']))
        assert picture.shape == (96, 96, 3)


def test_scenes_are_varied():
    drawn = scenes(7, 150)
    objects = [one for scene in drawn for one in scene]
    assert {one.label for one in objects} == set(range(len(CLASSES)))
    assert any(one.crowd for one in objects)
    assert any(not scene for scene in drawn)
    side = np.sqrt([one.mask.sum() for one in objects if not one.crowd])
    assert np.percentile(side, 95) > 4 * np.percentile(side, 5)
    at_edge = [
        one.mask[[0, -1]].any() or one.mask[:, [0, -1]].any()
        for one in objects
    ]
    assert 0.1 < np.mean(at_edge) < 0.7
    kinds = {bool(polygons(one.mask)) for one in objects if not one.crowd}
    assert kinds == {True, False}
    for scene in drawn:  # no pixel belongs to two objects
        assert np.sum([one.mask for one in scene], axis=0).max() <= 1


def test_polygons_and_rle_keep_the_mask():
    for mask in [one.mask for scene in scenes(3, 30) for one in scene]:
        rle = uncompressed_rle(mask)
        assert sum(rle['counts']) == mask.size
        decoded = coco_mask.decode(coco_mask.frPyObjects(rle, 96, 96))
        assert np.array_equal(decoded, mask)
        outline = polygons(mask)
        if outline:
            drawn = coco_mask.decode(
                coco_mask.merge(coco_mask.frPyObjects(outline, 96, 96))
            )
            assert (drawn & mask).sum() / (drawn | mask).sum() > 0.9


@pytest.mark.parametrize(
    'mask',
    [np.ones((4, 4), bool), np.zeros((4, 4), bool), np.eye(4, dtype=bool)],
)
def test_rle_of_extreme_masks(mask):
    rle = coco_mask.frPyObjects(uncompressed_rle(mask), 4, 4)
    assert np.array_equal(coco_mask.decode(rle), mask)


def test_a_finished_data_set_is_kept_and_no_folder_overwritten(
    make, tmp_path, shapes
):
    end, printed = make(shapes, **OPTIONS)
    assert end is None and 'already exists' in printed
    end, _ = make(shapes, **{**OPTIONS, 'train': 13})
    assert f'{shapes} exists' in end
    assert json.loads((shapes / 'shapes.json').read_text())['train'] == 12
    assert f'{tmp_path} exists' in make(tmp_path)[0]


@pytest.mark.parametrize('option', ['train', 'val', 'size'])
def test_wrong_options_are_named(make, tmp_path, option):
    end, printed = make(tmp_path / 'out', **{option: 0})
    assert end == 2 and f'--{option} must be at least' in printed
