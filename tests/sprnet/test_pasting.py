import numpy as np
import pytest
import torch
import torch.nn.functional as F

from projects.sprnet import pasting
from projects.sprnet.pasting import paste_masks

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
    ]
)


def pasted_by_loops(grid, box, height, width, threshold):
    x1, y1, x2, y2 = box
    cells = len(grid)
    mask = np.zeros((height, width), bool)
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


@pytest.mark.parametrize('threshold', [0.3, 0.5])
@pytest.mark.parametrize('at_once', [1, 100, 3000, 2**20])
def test_pasting_against_loops(monkeypatch, threshold, at_once):
    budget = pasting.Budget(at_once, padding=at_once)
    monkeypatch.setattr(pasting, 'ON_CPU', budget)
    torch.manual_seed(0)
    grids = torch.rand(len(BOXES), 8, 8, dtype=torch.float64)
    boxes = BOXES.double()
    masks = paste_masks(grids, boxes, 50, 60, threshold)
    assert masks.shape == (len(BOXES), 50, 60) and masks.dtype == torch.bool
    for mask, grid, box in zip(masks, grids, boxes):
        expected = pasted_by_loops(
            grid.numpy(), box.tolist(), 50, 60, threshold
        )
        assert np.array_equal(mask.numpy(), expected)
    visible = masks.flatten(1).any(1)
    assert visible.nonzero()[:, 0].tolist() == [0, 1, 2, 6, 9, 10, 11]


def test_a_probability_equal_to_the_threshold_belongs_to_the_mask():
    whole = torch.tensor([[0.0, 0.0, 20.0, 10.0]])
    assert paste_masks(torch.full((1, 8, 8), 0.5), whole, 10, 20, 0.5).all()


def test_pasting_into_whole_pixels_is_a_bilinear_resize():
    torch.manual_seed(0)
    grid = torch.rand(1, 32, 32)
    resized = F.interpolate(
        grid[None], size=(70, 45), mode='bilinear', align_corners=False
    )[0, 0]
    mask = paste_masks(
        grid, torch.tensor([[5.0, 7.0, 50.0, 77.0]]), 80, 60, 0.5
    )
    assert torch.equal(mask[0, 7:77, 5:50], resized >= 0.5)


def test_pasting_nothing():
    masks = paste_masks(torch.zeros(0, 32, 32), torch.zeros(0, 4), 20, 30, 0.5)
    assert masks.shape == (0, 20, 30)
