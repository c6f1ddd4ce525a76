"""Run lengths against pycocotools' encoding of the dense masks."""

import json

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS
from mmdet.structures.mask import encode_mask_results
from pycocotools import mask as coco_mask
from support.helpers import (
    BOX_CONFIG,
    NAN,
    SHAPES_CONFIG,
    build_model,
    sample,
)

from projects.sprnet import RLEMasks, pasting
from projects.sprnet.pasting import paste_one_by_one
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
    monkeypatch.setattr(pasting, 'ON_CPU_AT_ONCE', at_once)
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
    inputs = (probabilities, boxes, (height, width), 0.5)
    masks = paste_one_by_one(*inputs)
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
    none = torch.zeros(0, 8, 8), torch.zeros(0, 4)
    assert rle_masks(*none, (9, 7), 0.5) == []


def test_each_picture_gets_its_own_masks():
    torch.manual_seed(0)
    sizes, counts = [(9, 7), (6, 20), (5, 5)], [2, 0, 1]
    boxes = torch.tensor([[1.0, 1, 6, 6], [2, 0, 9, 9], [0, 0, 4, 5]])
    boxes, probabilities = boxes.split(counts), torch.rand(3, 8, 8)
    found = RLEMasks()(probabilities, boxes, sizes, 0.5)
    for rles, *picture in zip(
        found, probabilities.split(counts), boxes, sizes
    ):
        assert rles == encoded(paste_one_by_one(*picture, 0.5))


SIZE = (96, 128)
ORIGINAL = (75, 90)


def write_truth(file, instances, classes):
    """Write some detections of an image as its annotations."""
    rles = encode_mask_results(instances.masks.numpy())
    truth = dict(
        images=[dict(id=1, height=ORIGINAL[0], width=ORIGINAL[1])],
        categories=[dict(id=i, name=str(i)) for i in range(classes)],
        annotations=[
            dict(
                id=i,
                image_id=1,
                category_id=label,
                iscrowd=0,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=area,
                segmentation=dict(rle, counts=rle['counts'].decode()),
            )
            for i, (label, (x1, y1, x2, y2), rle, area) in enumerate(
                zip(
                    instances.labels.tolist(),
                    instances.bboxes.tolist(),
                    rles,
                    instances.masks.sum((1, 2)).tolist(),
                ),
                start=1,
            )
        ],
    )
    file.write_text(json.dumps(truth))


def evaluate(file, result, classes):
    metric = METRICS.build(
        dict(
            type='CocoAPARMetric', ann_file=str(file), metric=['bbox', 'segm']
        )
    )
    metric.dataset_meta = dict(classes=[str(i) for i in range(classes)])
    metric.process({}, [result.to_dict()])
    return metric.evaluate(1)


@pytest.mark.parametrize(
    'config',
    [SHAPES_CONFIG, BOX_CONFIG],
    ids=['MultiScaleFusion', 'BoxGrid'],
)
def test_rle_is_the_dense_masks_and_has_their_scores(tmp_path, config):
    dense = build_model(config).eval()
    options = {'mask_head.mask_output.type': 'RLEMasks'}
    rle = build_model(config, **options).eval()
    torch.nn.init.normal_(dense.mask_head.decoder.classifier.weight)
    torch.nn.init.normal_(dense.bbox_head.retina_cls.weight, std=0.3)
    rle.load_state_dict(dense.state_dict())
    images = torch.randn(1, 3, *SIZE)
    results = []
    for model in (dense, rle):
        model.bbox_head.test_cfg.score_thr = 0.0
        image = sample([], [], SIZE)
        scale = (SIZE[1] / ORIGINAL[1], SIZE[0] / ORIGINAL[0])
        image.set_metainfo(dict(ori_shape=ORIGINAL, scale_factor=scale))
        with torch.no_grad():
            results += model.predict(images, [image])

    tensors, runs = (r.pred_instances for r in results)
    assert tensors.masks.shape == (100, *ORIGINAL)
    assert tensors.masks.dtype == torch.bool
    assert runs.masks == encode_mask_results(tensors.masks.numpy())
    for field in set(tensors.keys()) - {'masks'}:
        assert torch.equal(tensors[field], runs[field]), field

    classes = dense.bbox_head.num_classes
    visible = tensors[tensors.masks.flatten(1).any(1)]
    write_truth(tmp_path / 'truth.json', visible[::5], classes)
    expected = evaluate(tmp_path / 'truth.json', results[0], classes)
    assert evaluate(tmp_path / 'truth.json', results[1], classes) == expected
    assert 0 < expected['coco/segm_mAP'] < 1
