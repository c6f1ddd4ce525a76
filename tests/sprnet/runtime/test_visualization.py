"""Test images are drawn as loaded, and no picture replaces another."""

import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmcv.transforms import Compose
from mmdet.structures import DetDataSample
from support.loaders import LoadNumpy

from projects.sprnet import FolderVisualizationHook, FolderVisualizer


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
    )
    hook = FolderVisualizationHook(draw=True, test_out_dir='pictures')
    hook.after_test_iter(runner, 0, {}, list(map(detections, images)))
    names = [name.format(tmp_path.as_posix()).strip('/') for name in pictures]
    found = drawn(tmp_path / 'now' / 'pictures')
    assert found == pytest.approx(dict(zip(names, [0, 50])), abs=1)


def test_show_dir_draws_only_on_demand(visualizer, tmp_path):
    hook = FolderVisualizationHook(test_out_dir='pictures')
    hook.after_test_iter(None, 0, {}, [detections('gone.png')])
