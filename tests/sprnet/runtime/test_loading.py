import numpy as np
import pytest
from mmcv.transforms import Compose
from support.loaders import LoadNumpy

from projects.sprnet.runtime.loading import as_picture, load_image


def test_runs_the_steps_up_to_the_one_that_loads(tmp_path):
    np.save(tmp_path / 'a.npy', np.ones((4, 6, 5)))
    steps = Compose([dict, LoadNumpy(), max, min]).transforms
    given = dict(img_path=tmp_path / 'a.npy')
    results, rest = load_image(steps, given)
    assert results['img'].shape == (4, 6, 5) and rest == [max, min]


@pytest.mark.parametrize(
    'steps,words',
    [([dict], 'no step'), ([lambda given: None], 'skips the image')],
)
def test_no_image_is_said(steps, words):
    with pytest.raises(ValueError, match=words):
        load_image(steps, dict(img_path='a'))


@pytest.mark.parametrize(
    'values,expected',
    [
        (np.uint8([7, 9]), [7, 9]),
        (np.float32([7, 255]), [7, 255]),
        (np.float32([0, 1]), [0, 255]),
        (np.float32([0.25, 0.75]), [0, 255]),
        (np.uint16([1000, 65000]), [0, 255]),
        (np.array([-5, np.nan, 5]), [0, 127, 255]),
        (np.array([True, False]), [255, 0]),
        (np.int64([0, 0]), [0, 0]),
        (np.int64([900, 900]), [0, 0]),
    ],
)
def test_a_picture_shows_all_values(values, expected):
    for image in (values[None], values[None, :, None]):
        picture = as_picture(image)
        assert picture.dtype == np.uint8
        assert picture.tolist() == [[[value] * 3 for value in expected]]


@pytest.mark.parametrize(
    'channels,shown',
    [(1, [0] * 3), (2, [0] * 3), (3, [0, 1, 2]), (30, [0, 1, 2])],
)
def test_a_picture_has_three_channels(channels, shown):
    image = np.arange(channels, dtype=np.uint8)[None, None]
    assert as_picture(image).tolist() == [[shown]]


def test_a_picture_is_a_copy():
    image = np.zeros((1, 1, 3), np.uint8)
    as_picture(image)[:] = 9
    assert (image == 0).all()
