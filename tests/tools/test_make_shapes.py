import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
from make_shapes import polygons, uncompressed_rle
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from shapes_data.scenes import CLASSES, draw_scene
from support.helpers import ROOT

TOOL = ROOT / 'tools' / 'make_shapes.py'


def make(out, *options):
    return subprocess.run(
        [sys.executable, TOOL, out, *options], capture_output=True, text=True
    )


def test_the_same_options_make_the_same_data(tmp_path, shapes):
    again = tmp_path / 'again'
    assert (
        make(again, '--train', '12', '--val', '5', '--size', '96').returncode
        == 0
    )
    files = sorted(p.relative_to(shapes) for p in shapes.rglob('*.*'))
    assert len(files) == 12 + 5 + 3
    for file in files:
        assert (again / file).read_bytes() == (shapes / file).read_bytes()
    other = draw_scene(np.random.default_rng([1, 0, 1]), 96)[0]
    first = cv2.imread(str(shapes / 'train2017' / '000000000001.jpg'))
    assert np.abs(first.astype(int) - other).mean() > 5


def test_fewer_pictures_are_the_first_of_more(tmp_path, shapes):
    assert (
        make(
            tmp_path / 'few', '--train', '3', '--val', '1', '--size', '96'
        ).returncode
        == 0
    )
    name = 'train2017/000000000003.jpg'
    assert (tmp_path / 'few' / name).read_bytes() == (
        shapes / name
    ).read_bytes()


def test_annotations_are_what_coco_reads(shapes):
    for split, count in (('train2017', 12), ('val2017', 5)):
        coco = COCO(shapes / 'annotations' / f'instances_{split}.json')
        assert len(coco.imgs) == count
        assert [c['name'] for c in coco.dataset['categories']] == list(CLASSES)
        assert len(coco.anns) > count
        for one in coco.anns.values():
            mask = coco.annToMask(one)
            assert mask.shape == (96, 96)
            assert mask.sum() == one['area'] > 0
            rows, columns = np.nonzero(mask)
            assert one['bbox'] == [
                columns.min(),
                rows.min(),
                np.ptp(columns) + 1,
                np.ptp(rows) + 1,
            ]
        for image in coco.imgs.values():
            picture = cv2.imread(str(shapes / split / image['file_name']))
            assert picture.shape == (96, 96, 3)


def test_scenes_are_what_the_data_set_promises():
    scenes = [
        draw_scene(np.random.default_rng([7, i]), 96)[1] for i in range(150)
    ]
    objects = [one for scene in scenes for one in scene]
    assert {one.label for one in objects} == set(range(len(CLASSES)))
    assert any(one.crowd for one in objects)
    assert any(not scene for scene in scenes)
    side = np.sqrt([one.mask.sum() for one in objects if not one.crowd])
    assert np.percentile(side, 95) > 4 * np.percentile(side, 5)
    at_edge = [
        one.mask[[0, -1]].any() or one.mask[:, [0, -1]].any()
        for one in objects
    ]
    assert 0.1 < np.mean(at_edge) < 0.7
    kinds = {bool(polygons(one.mask)) for one in objects if not one.crowd}
    assert kinds == {True, False}
    for scene in scenes:  # what covers hides: nothing belongs to two
        assert (
            sum(one.mask.astype(int) for one in scene).max(initial=0) <= 1
            if scene
            else True
        )


def test_polygons_and_rle_keep_the_mask():
    masks = [
        one.mask
        for i in range(30)
        for one in draw_scene(np.random.default_rng([3, i]), 96)[1]
    ]
    for mask in masks:
        rle = uncompressed_rle(mask)
        assert sum(rle['counts']) == mask.size
        decoded = coco_mask.decode(coco_mask.frPyObjects(rle, 96, 96))
        assert np.array_equal(decoded, mask)
        outline = polygons(mask)
        if outline:
            drawn = coco_mask.decode(
                coco_mask.merge(coco_mask.frPyObjects(outline, 96, 96))
            )
            both = (drawn & mask).sum() / (drawn | mask).sum()
            assert both > 0.9


@pytest.mark.parametrize(
    'mask',
    [np.ones((4, 4), bool), np.zeros((4, 4), bool), np.eye(4, dtype=bool)],
)
def test_rle_of_extreme_masks(mask):
    rle = coco_mask.frPyObjects(uncompressed_rle(mask), 4, 4)
    assert np.array_equal(coco_mask.decode(rle), mask)


def test_a_finished_data_set_is_kept_and_nothing_else_overwritten(
    tmp_path, shapes
):
    options = '--train', '12', '--val', '5', '--size', '96'
    done = make(shapes, *options)
    assert done.returncode == 0 and 'already there' in done.stdout
    other = make(shapes, '--train', '13', *options[2:])
    assert other.returncode == 1
    assert 'is not this data set' in other.stderr
    assert json.loads((shapes / 'shapes.json').read_text())['train'] == 12
    (tmp_path / 'mine').mkdir()
    assert make(tmp_path / 'mine').returncode == 1


def test_what_a_killed_run_left_is_made_anew(tmp_path):
    (tmp_path / 'out.unfinished' / 'train2017').mkdir(parents=True)
    options = '--train', '1', '--val', '1', '--size', '64'
    assert make(tmp_path / 'out', *options).returncode == 0
    assert not (tmp_path / 'out.unfinished').exists()


@pytest.mark.parametrize('option', ['train', 'val', 'size'])
def test_wrong_options_are_named(tmp_path, option):
    done = make(tmp_path / 'out', f'--{option}', '0')
    assert done.returncode == 2
    assert f'--{option} must be at least' in done.stderr
