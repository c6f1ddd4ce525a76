import numpy as np
import pytest
import torch
import torch.nn.functional as F

from projects.sprnet import DenseMasks, pasting
from projects.sprnet.pasting import paste_one_by_one, paste_together

BOXES = torch.tensor(
    [
        [3.2, 4.7, 40.1, 30.9],
        [-15.5, -3.0, 20.0, 70.0],  # out of the image on three sides
        [10.0, 10.0, 42.0, 42.0],
        [59.0, 20.3, 59.4, 25.0],  # between two pixels' centres
        [30.0, 30.0, 30.0, 30.0],  # empty
        [70.0, 5.0, 90.0, 20.0],  # outside
        [12.4, 12.4, 13.6, 13.6],  # one pixel
        [float('nan'), 10.0, 40.0, 40.0],
        [float('nan')] * 4,
        [-5.0, -300.0, 100.0, 300.0],  # larger than the image
        [2.0, 20.0, 50.0, 23.0],  # lying
        [20.0, 3.0, 24.0, 45.0],  # standing
        [40.0, 40.0, 20.0, 20.0],  # inside out
        [float('-inf'), 10.0, float('inf'), 40.0],
    ],
    dtype=torch.float64,
)
VISIBLE = [0, 1, 2, 6, 9, 10, 11]  # in an image of 50 x 60 pixels


def pasted_by_loops(grid, box, height, width, threshold):
    x1, y1, x2, y2 = box
    cells = len(grid)
    mask = np.zeros((height, width), bool)
    if not np.isfinite(box).all():
        return mask
    for row in range(height):
        for column in range(width):
            y, x = row + 0.5, column + 0.5
            if not (x1 <= x < x2 and y1 <= y < y2):
                continue
            v = np.clip((y - y1) / (y2 - y1) * cells - 0.5, 0, cells - 1)
            u = np.clip((x - x1) / (x2 - x1) * cells - 0.5, 0, cells - 1)
            top, left = int(v), int(u)
            low, right = min(top + 1, cells - 1), min(left + 1, cells - 1)
            dv, du = v - top, u - left
            value = (1 - dv) * (
                (1 - du) * grid[top, left] + du * grid[top, right]
            ) + dv * ((1 - du) * grid[low, left] + du * grid[low, right])
            mask[row, column] = value >= threshold
    return mask


def assert_pasted(masks, grids, boxes, size, threshold):
    assert masks.shape == (len(boxes), *size) and masks.dtype == torch.bool
    for mask, grid, box in zip(masks, grids, boxes):
        expected = pasted_by_loops(
            grid.numpy(), box.tolist(), *size, threshold
        )
        assert (mask.numpy() != expected).sum() == 0


@pytest.fixture
def grids():
    torch.manual_seed(0)
    return torch.rand(len(BOXES), 8, 8, dtype=torch.float64)


@pytest.mark.parametrize('threshold', [0.3, 0.5])
@pytest.mark.parametrize('pixels,masks', [(1, 1), (100, 3), (2**20, 64)])
def test_on_a_cpu_against_loops(monkeypatch, grids, threshold, pixels, masks):
    monkeypatch.setattr(pasting, 'ON_CPU_AT_ONCE', pixels)
    monkeypatch.setattr(pasting, 'MASKS_AT_ONCE', masks)
    found = paste_one_by_one(grids, BOXES, (50, 60), threshold)
    assert_pasted(found, grids, BOXES, (50, 60), threshold)
    assert found.flatten(1).any(1).nonzero()[:, 0].tolist() == VISIBLE


# Boxes of each picture, and its size
PICTURES = {
    'one picture': [(14, (50, 60))],
    'of one size': [(5, (50, 60)), (9, (50, 60))],
    'that share a tensor': [(6, (50, 60)), (0, (20, 30)), (8, (45, 70))],
    'of other shapes': [(2, (50, 12)), (3, (12, 60)), (9, (50, 60))],
    'mostly padding': [(1, (90, 90)), (13, (20, 30))],
    'none detected': [(0, (50, 60)), (0, (40, 30))],
}


@pytest.mark.parametrize('at_once', [1, 3 * 50 * 60, 2**26])
@pytest.mark.parametrize('pictures', PICTURES)
def test_on_a_gpu_against_loops(monkeypatch, grids, pictures, at_once):
    monkeypatch.setattr(pasting, 'ON_GPU_AT_ONCE', at_once)
    counts, sizes = zip(*PICTURES[pictures])
    count = sum(counts)
    grids, boxes = grids[:count], BOXES[:count].split(counts)
    found = paste_together(grids, boxes, sizes, 0.4)
    assert len(found) == len(sizes)
    for masks, *picture in zip(found, grids.split(counts), boxes, sizes):
        assert_pasted(masks, *picture, 0.4)
    bases = {masks.untyped_storage().data_ptr() for masks in found}
    shared = pictures not in ('mostly padding', 'none detected')
    assert not shared or len(bases) == 1
    assert pictures != 'mostly padding' or len(bases) == 2


def test_both_ways_give_the_same_masks_in_float32(grids):
    boxes, size = BOXES[:7].float(), (50, 60)
    grids = grids[:7].float()
    (together,) = paste_together(grids, [boxes], [size], 0.5)
    (chosen,) = DenseMasks()(grids, [boxes], [size], 0.5)
    assert torch.equal(chosen, paste_one_by_one(grids, boxes, size, 0.5))
    assert (together != chosen).sum() <= 1


def test_dense_masks_of_several_pictures(grids):
    boxes, sizes = BOXES.split([5, 0, 9]), [(50, 60), (10, 10), (40, 30)]
    found = DenseMasks()(grids, boxes, sizes, 0.5)
    for masks, *picture in zip(found, grids.split([5, 0, 9]), boxes, sizes):
        assert_pasted(masks, *picture, 0.5)


WAYS = {
    'cpu': paste_one_by_one,
    'gpu': lambda grids, boxes, size, threshold: paste_together(
        grids, [boxes], [size], threshold
    )[0],
}
both_ways = pytest.mark.parametrize('paste', WAYS.values(), ids=WAYS)


@both_ways
def test_a_probability_equal_to_the_threshold_belongs_to_the_mask(paste):
    whole = torch.tensor([[0.0, 0.0, 20.0, 10.0]])
    assert paste(torch.full((1, 8, 8), 0.5), whole, (10, 20), 0.5).all()


@both_ways
def test_pasting_into_whole_pixels_is_a_bilinear_resize(paste):
    torch.manual_seed(0)
    grid = torch.rand(1, 32, 32)
    resized = F.interpolate(
        grid[None], size=(70, 45), mode='bilinear', align_corners=False
    )[0, 0]
    box = torch.tensor([[5.0, 7.0, 50.0, 77.0]])
    mask = paste(grid, box, (80, 60), 0.5)
    assert torch.equal(mask[0, 7:77, 5:50], resized >= 0.5)
    assert mask.sum() == (resized >= 0.5).sum()


@both_ways
def test_pasting_nothing(paste):
    masks = paste(torch.zeros(0, 32, 32), torch.zeros(0, 4), (20, 30), 0.5)
    assert masks.shape == (0, 20, 30)
