import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from pycocotools import mask as coco_mask

from projects.sprnet.masks import MASKS_AT_ONCE, mask_targets, paste_masks


def star(centre, radius, points=5):
    angles = np.arange(2 * points) * np.pi / points
    radii = np.tile([radius, radius * 0.45], points)
    corners = np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
    return (corners + centre).ravel()


@pytest.mark.parametrize('kind', ['bitmap', 'polygon'])
def test_targets_against_crops_by_pycocotools(kind):
    rng = np.random.default_rng(0)
    height, width = 150, 200
    polygons = [
        star(rng.uniform(50, 100, 2), rng.uniform(15, 45))
        for _ in range(MASKS_AT_ONCE + 5)
    ]
    rles = [
        coco_mask.merge(coco_mask.frPyObjects([p.tolist()], height, width))
        for p in polygons
    ]
    # Whole pixels that divide by the cells, so that the crop is exact.
    boxes = []
    for x, y, w, h in map(coco_mask.toBbox, rles):
        x, y = int(x), int(y)
        boxes.append(
            [
                x,
                y,
                x + 32 * int(np.ceil(w / 32)),
                y + 32 * int(np.ceil(h / 32)),
            ]
        )
    if kind == 'bitmap':
        masks = BitmapMasks([coco_mask.decode(r) for r in rles], height, width)
    else:
        masks = PolygonMasks([[p] for p in polygons], height, width)
    targets = mask_targets(masks, torch.tensor(boxes).float(), 32)
    assert targets.shape == (len(rles), 32, 32)
    assert set(targets.unique().tolist()) == {0, 1}
    for target, rle, (x1, y1, x2, y2) in zip(targets, rles, boxes):
        padded = np.pad(coco_mask.decode(rle), 64).astype(np.float32)
        crop = padded[y1 + 64 : y2 + 64, x1 + 64 : x2 + 64]
        expected = cv2.resize(crop, (32, 32), interpolation=cv2.INTER_AREA)
        clear = expected != 0.5
        wrong = (target.numpy() != (expected >= 0.5)) & clear
        if kind == 'bitmap':
            # RoIAlign stops at the picture's edge, half a pixel earlier.
            assert wrong[:-1, :-1].sum() == 0
        else:
            assert wrong.mean() < 0.03


def test_targets_are_cropped_to_the_box():
    mask = np.zeros((1, 40, 40), np.uint8)
    mask[0, 10:20, 8:28] = 1
    masks = BitmapMasks(mask, 40, 40)
    target = mask_targets(masks, torch.tensor([[8.0, 10, 28, 20]]), 8)
    assert target.all()
    target = mask_targets(masks, torch.tensor([[8.0, 10, 28, 30]]), 8)[0]
    assert target[:4].all() and not target[4:].any()


def test_no_targets():
    masks = BitmapMasks(np.zeros((0, 20, 20)), 20, 20)
    assert mask_targets(masks, torch.zeros(0, 4), 32).shape == (0, 32, 32)


BOXES = torch.tensor(
    [
        [3.2, 4.7, 40.1, 30.9],
        [-15.5, -3.0, 20.0, 70.0],  # out of the image on three sides
        [10.0, 10.0, 42.0, 42.0],
        [59.0, 20.3, 59.4, 25.0],  # between two pixels' centres
        [30.0, 30.0, 30.0, 30.0],  # empty
        [70.0, 5.0, 90.0, 20.0],  # outside
        [12.4, 12.4, 13.6, 13.6],  # one pixel
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
def test_pasting_against_loops(threshold):
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
    assert masks[[0, 1, 2, 6]].flatten(1).any(1).all()
    assert not masks[3:6].any()


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
