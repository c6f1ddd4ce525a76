"""Test images are drawn as loaded, no picture replaces another, and labels
hide nothing."""

import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from support.loaders import LoadNumpy

from projects.sprnet.errors import InputError
from projects.sprnet.runtime import FolderVisualizationHook, FolderVisualizer
from projects.sprnet.runtime.drawing import (
    draw_masks,
    free_places,
    instance_colours,
    outline_width,
    text_size,
)


def detections(path):
    return DetDataSample(metainfo=dict(img_path=str(path), img_id=1))


def drawn(folder):
    """The colour of each picture below a folder, by its path."""
    return {
        file.relative_to(folder).as_posix(): cv2.imread(str(file)).mean()
        for file in folder.rglob('*.*')
    }


@pytest.fixture
def visualizer():
    return FolderVisualizer.get_instance('test')


def test_images_of_one_name_are_drawn_to_two_files(visualizer, tmp_path):
    for value, image in (
        (10, 'x/a/1.png'),
        (20, 'x/b/1.png'),
        (30, 'y/b/1.png'),
        (40, 'x/b/1.png'),
        (50, 'x/b/2.png'),
    ):
        visualizer.add_datasample(
            '1.png',
            np.full((20, 30, 3), value, np.uint8),
            detections(image),
            out_file=str(tmp_path / os.path.basename(image)),
        )
    # An image that is drawn again replaces its own picture.
    assert drawn(tmp_path) == {
        '1.png': 10,
        'b/1.png': 40,
        'y/b/1.png': 30,
        '2.png': 50,
    }


@pytest.mark.parametrize(
    'image,shown',
    [
        (np.uint8([[[90] * 3]]), 90),
        (np.float32([[[300] * 3]]), 255),
        (np.float32([[[1] * 3, [0] * 3]]), 127.5),
        (np.uint16([[[9000] * 3, [0] * 3]]), 127.5),
    ],
)
def test_arrays_are_drawn_as_pictures(image, shown, visualizer, tmp_path):
    file = str(tmp_path / '1.npy')
    sample = detections('x/1.npy')
    visualizer.add_datasample('1.npy', image, sample, out_file=file)
    (drawn_as,) = drawn(tmp_path).items()
    assert drawn_as == ('1.npy.jpg', pytest.approx(shown, abs=2))


def dataset(folder):
    steps = Compose([dict(type=LoadNumpy)])
    return SimpleNamespace(pipeline=steps, data_prefix=dict(img=str(folder)))


@pytest.mark.parametrize(
    'folders,pictures',
    [
        (['x'], ['a/1.npy.jpg', 'b/1.npy.jpg']),
        (['x/a', 'x/b'], ['a/1.npy.jpg', 'b/1.npy.jpg']),
        (['x/a'], ['1.npy.jpg', '{}/x/b/1.npy.jpg']),
    ],
)
def test_show_dir_keeps_folders_and_draws_what_is_loaded(
    folders, pictures, visualizer, tmp_path
):
    said = []
    images = [tmp_path / 'x' / name / '1.npy' for name in ('a', 'b')]
    for n, image in enumerate(images):
        image.parent.mkdir(parents=True)
        np.save(image, np.full((20, 30, 5), 50 * n, np.float32))
    datasets = [dataset(tmp_path / folder) for folder in folders]
    whole = SimpleNamespace(datasets=datasets) if folders[1:] else datasets[0]
    runner = SimpleNamespace(
        test_dataloader=SimpleNamespace(
            dataset=SimpleNamespace(dataset=whole)
        ),
        work_dir=str(tmp_path),
        timestamp='now',
        logger=SimpleNamespace(info=said.append),
    )
    hook = FolderVisualizationHook(draw=True, test_out_dir='pictures')
    hook.after_test_iter(runner, 0, {}, list(map(detections, images)))
    names = [name.format(tmp_path.as_posix()).strip('/') for name in pictures]
    found = drawn(tmp_path / 'now' / 'pictures')
    assert found == pytest.approx(dict(zip(names, [0, 50])), abs=1)
    hook.after_test_epoch(runner)
    assert said[0].endswith(f'drawn to {tmp_path}/now/pictures')


def test_show_dir_draws_only_on_demand(visualizer, tmp_path):
    hook = FolderVisualizationHook(test_out_dir='pictures')
    hook.after_test_iter(None, 0, {}, [detections('gone.png')])
    hook.after_test_epoch(None)


SIDE = 240
CELLS = [
    (20 * x, 20 * y, 20 * x + 14, 20 * y + 14) for x, y in np.ndindex(6, 6)
]
LARGE = (130, 130, 230, 230)


def instances(boxes, masked=True, **fields):
    """Square objects of class 0, and what a visualizer reads of them."""
    masks = np.zeros((len(boxes), SIDE, SIDE), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes):
        mask[y1:y2, x1:x2] = masked
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.zeros(len(boxes), dtype=torch.long),
        masks=BitmapMasks(masks, SIDE, SIDE),
        **fields,
    )


def picture_of(objects, classes=('cell', 'dirt'), **options):
    """A grey picture (SIDE, SIDE, 3) of predictions, or of ground truth where
    objects have no scores."""
    visualizer = FolderVisualizer('labels', **options)
    visualizer.dataset_meta = dict(classes=classes, palette='random')
    grey = np.full((SIDE, SIDE, 3), 100, np.uint8)
    if 'scores' in objects:
        objects.masks = torch.from_numpy(objects.masks.masks)
        sample = DetDataSample(pred_instances=objects)
        visualizer.add_datasample('', grey, sample, draw_gt=False)
    else:
        sample = DetDataSample(gt_instances=objects)
        visualizer.add_datasample('', grey, sample, draw_pred=False)
    return visualizer.get_image()


def test_every_cell_has_its_colour_and_no_label():
    scores = torch.full((36,), 0.9)
    plain = picture_of(instances(CELLS, scores=scores), labels='never')
    inside = [plain[y1 + 7, x1 + 7] for x1, y1, _, _ in CELLS]
    assert len(np.unique(inside, axis=0)) == 36
    auto = picture_of(instances(CELLS, scores=scores))
    assert np.array_equal(auto, plain)
    forced = picture_of(instances(CELLS, scores=scores), labels='always')
    assert (forced != plain).any(axis=2).mean() > 0.1
    # the background and the middle of a cell
    assert abs(plain[17, 17].astype(int) - 100).max() <= 1
    colours = instance_colours(36)
    expected = 100 * 0.6 + colours * 0.4
    assert np.abs(np.array(inside) - expected).max() <= 2


def test_labels_stand_where_they_fit():
    scores = torch.tensor([0.9, 0.8])
    two = [LARGE, (10, 10, 24, 24)]
    plain = picture_of(instances(two, scores=scores), labels='never')
    auto = picture_of(instances(two, scores=scores))
    changed = np.argwhere((auto != plain).any(axis=2))
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    assert min(top, left) >= 128 and max(bottom, right) <= 231
    assert 0.01 < len(changed) / 100**2 < 0.2
    # A class name without a score says something only among several classes
    assert (picture_of(instances(two)) != plain).any()
    assert np.array_equal(picture_of(instances(two), classes=('cell',)), plain)


def test_places_hide_no_other_object_and_no_label():
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 300, (60, 2))
    sides = rng.integers(5, 120, (60, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1).astype(float)
    sizes = np.tile([25.0, 9.0], (60, 1))
    scores = rng.random(60)
    places = free_places(boxes, sizes, scores)
    found = [i for i, place in enumerate(places) if place]
    assert 5 < len(found) < 60
    areas = sides.prod(1)
    labels = {i: [*places[i], *(places[i] + sizes[i])] for i in found}

    def meet(one, other):
        return all(
            one[d] < other[d + 2] and one[d + 2] > other[d] for d in (0, 1)
        )

    for i, label in labels.items():
        assert (label[:2] >= boxes[i, :2]).all()
        assert (label[2:] <= boxes[i, 2:]).all()
        for j in range(60):
            if areas[j] < areas[i]:
                assert not meet(label, boxes[j])
            if j in labels and j != i:
                assert not meet(label, labels[j])
    alone = free_places(boxes[:1] + 0, np.array([[900.0, 9]]), scores[:1])
    assert alone == [None]


def test_outlines_fit_the_object():
    widths = [outline_width(side**2, (600, 800)) for side in (4, 60, 400)]
    assert widths == [1, 2, 3]
    assert outline_width(400**2, (3000, 4000)) == 15
    assert outline_width(20**2, (3000, 4000)) == 1
    mask = np.zeros((1, 100, 100), bool)
    mask[0, 20:80, 20:80] = True
    mask[0, 40:60, 40:60] = False
    black = np.zeros((100, 100, 3), np.uint8)
    red = np.array([[200, 0, 0]], np.uint8)
    drawn = draw_masks(black, mask, red, 0.5, 1)[..., 0]
    assert black.max() == 0
    assert drawn[20, 50] == drawn[79, 50] == 200  # outlines of mask and hole
    assert drawn[50, 39] == 200 and drawn[50, 50] == 0 and drawn[30, 30] == 100
    small = np.zeros((2, 100, 100), bool)
    small[0, 45:55, 45:55] = small[1, 10:90, 10:90] = True
    top = draw_masks(black, small, instance_colours(2), 0.5)
    assert np.array_equal(top[45, 50], instance_colours(2)[0])


def test_objects_without_a_mask_have_a_box():
    scores = torch.tensor([0.9])
    drawn = picture_of(
        instances([LARGE], masked=False, scores=scores), labels='never'
    )
    colour = instance_colours(1)[0]
    assert np.abs(drawn[130, 180] - colour.astype(int)).max() <= 1
    assert abs(drawn[180, 180].astype(int) - 100).max() <= 1


def test_options_of_the_visualizer():
    with pytest.raises(InputError, match="labels='some' is none of auto"):
        FolderVisualizer('x', labels='some')
    scores = torch.full((36,), 0.9)
    drawn = picture_of(
        instances(CELLS, scores=scores),
        labels='never',
        mask_color=(0, 0, 255),
        alpha=1.0,
    )
    inside = [drawn[y1 + 7, x1 + 7] for x1, y1, _, _ in CELLS]
    assert np.abs(np.array(inside, int) - [0, 0, 255]).max() <= 1
    width, height = text_size('cell: 90.0', 10, 100)
    assert width > text_size('cell', 10, 100)[0] > height / 2
