"""Run lengths against pycocotools' encoding of the dense masks."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from support.helpers import NAN

from projects.sprnet import pasting
from projects.sprnet.pasting import paste_masks
from projects.sprnet.rle import rle_masks

BOXES = {
    'inside': (0.2, 0.3, 0.7, 0.9),
    'across the left and top': (-0.5, -0.4, 0.6, 0.5),
    'across the right and bottom': (0.4, 0.5, 1.7, 1.2),
    'across all edges': (-0.1, -2.0, 1.1, 3.0),
    'the whole image': (0.0, 0.0, 1.0, 1.0),
    'columns from top to bottom': (0.3, 0.0, 0.8, 1.0),
    'the last columns': (0.6, -0.1, 1.1, 1.1),
    'outside': (1.1, 0.2, 1.5, 0.6),
    'before the image': (-0.9, -0.9, -0.1, -0.1),
    'no area': (0.5, 0.5, 0.5, 0.5),
    'no width': (0.5, 0.1, 0.5, 0.9),
    'upside down': (0.2, 0.9, 0.8, 0.1),
    'NaN': (NAN, NAN, NAN, NAN),
    'one edge NaN': (0.1, NAN, 0.9, 0.8),
}


def encoded(masks):
    """Encode dense masks as mmdet's CocoMetric does."""
    return [
        coco_mask.encode(np.asfortranarray(mask.numpy(), np.uint8))
        for mask in masks
    ]


@pytest.mark.parametrize('at_once', [2**20, 100])
@pytest.mark.parametrize(
    'height,width', [(40, 57), (57, 40), (1, 30), (30, 1), (1, 1)]
)
@pytest.mark.parametrize('maps', ['noise', 'blobs', 'full', 'empty'])
def test_equals_the_encoding_of_the_dense_masks(
    monkeypatch, at_once, height, width, maps
):
    monkeypatch.setattr(pasting, 'ON_CPU', pasting.Budget(at_once, at_once))
    monkeypatch.setattr('projects.sprnet.rle.COPIED_AT_ONCE', 10 * at_once)
    torch.manual_seed(0)
    size = torch.tensor([width, height, width, height])
    corner, side = torch.randn(30, 2), 2 * torch.rand(30, 2)
    boxes = torch.cat([corner, corner + side], dim=1)
    boxes = torch.cat([torch.tensor([*BOXES.values()]), boxes]) * size
    probabilities = dict(
        noise=torch.rand(len(boxes), 8, 8),
        blobs=torch.rand(len(boxes), 2, 2),
        full=torch.ones(len(boxes), 8, 8),
        empty=torch.zeros(len(boxes), 8, 8),
    )[maps]
    inputs = (probabilities, boxes, height, width, 0.5)
    masks = paste_masks(*inputs)
    rles = rle_masks(*inputs)
    assert rles == encoded(masks)
    assert coco_mask.area(rles).tolist() == masks.sum((1, 2)).tolist()
    for rle, mask in zip(rles, masks):
        assert np.array_equal(coco_mask.decode(rle), mask.numpy())
    assert masks.any() == (maps != 'empty')
    if maps == 'full':
        named = dict(zip(BOXES, masks))
        assert named['the whole image'].all()
        assert not named['NaN'].any()


def test_no_masks():
    assert rle_masks(torch.zeros(0, 8, 8), torch.zeros(0, 4), 9, 7, 0.5) == []
