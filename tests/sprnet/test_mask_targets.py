import cv2
import numpy as np
import pytest
import torch
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from pycocotools import mask as coco_mask
from support.helpers import sample

from projects.sprnet.mask_targets import (
    MASKS_AT_ONCE,
    check_masks,
    mask_targets,
)


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
    # Sides of whole pixels, multiples of the cells, so that crops are exact
    boxes = []
    for x, y, w, h in map(coco_mask.toBbox, rles):
        x, y = int(x), int(y)
        w, h = (32 * int(np.ceil(side / 32)) for side in (w, h))
        boxes.append([x, y, x + w, y + h])
    if kind == 'bitmap':
        masks = BitmapMasks([coco_mask.decode(r) for r in rles], height, width)
    else:
        masks = PolygonMasks([[p] for p in polygons], height, width)
    targets = mask_targets(
        masks, torch.arange(len(boxes)), torch.tensor(boxes).float(), 32
    )
    assert targets.shape == (len(rles), 32, 32)
    assert set(targets.unique().tolist()) == {0, 1}
    for target, rle, (x1, y1, x2, y2) in zip(targets, rles, boxes):
        padded = np.pad(coco_mask.decode(rle), 64).astype(np.float32)
        crop = padded[y1 + 64 : y2 + 64, x1 + 64 : x2 + 64]
        expected = cv2.resize(crop, (32, 32), interpolation=cv2.INTER_AREA)
        clear = expected != 0.5
        wrong = (target.numpy() != (expected >= 0.5)) & clear
        if kind == 'bitmap':
            # RoIAlign stops half a pixel before the image's edge.
            assert wrong[:-1, :-1].sum() == 0
        else:
            assert wrong.mean() < 0.03


def test_targets_are_cropped_to_the_box():
    mask = np.zeros((1, 40, 40), np.uint8)
    mask[0, 10:20, 8:28] = 1
    masks = BitmapMasks(mask, 40, 40)
    only = torch.tensor([0])
    target = mask_targets(masks, only, torch.tensor([[8.0, 10, 28, 20]]), 8)
    assert target.all()
    target = mask_targets(masks, only, torch.tensor([[8.0, 10, 28, 30]]), 8)[0]
    assert target[:4].all() and not target[4:].any()


def test_no_targets(monkeypatch):
    # A GPU refuses to start a kernel for no crop.
    monkeypatch.setattr('projects.sprnet.mask_targets.roi_align', None)
    masks = BitmapMasks(np.zeros((0, 20, 20)), 20, 20)
    none = torch.zeros(0, dtype=torch.long)
    targets = mask_targets(masks, none, torch.zeros(0, 4), 32)
    assert targets.shape == (0, 32, 32)


@pytest.mark.parametrize(
    'shape,words',
    [(None, 'with_mask=True'), ((64, 128), 'masks of .64, 128.')],
)
def test_masks_that_do_not_fit_the_image_are_refused(shape, words):
    image = sample([[10, 10, 60, 60]], [0], (128, 128))
    check_masks(image.gt_instances, image.metainfo)
    if shape:
        image.gt_instances.masks = BitmapMasks(np.ones((1, *shape)), *shape)
    else:
        del image.gt_instances.masks
    with pytest.raises(ValueError, match=words):
        check_masks(image.gt_instances, image.metainfo)
