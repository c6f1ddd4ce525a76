"""Test-time augmentation with masks."""

import mmengine
import pytest
import torch
from mmdet.models import DetTTAModel
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_flip
from mmengine.structures import InstanceData
from support.helpers import SHAPES_CONFIG

from projects.sprnet.runtime.tta import MaskTTAModel


def view(boxes, scores, direction=None):
    """Predictions on a view of an image of 40 x 60 pixels.

    Each mask is the upper left quarter of its box in the image.
    """
    masks = torch.zeros(len(boxes), 40, 60, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes):
        mask[y1 : (y1 + y2) // 2, x1 : (x1 + x2) // 2] = True
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    if direction:
        axes = dict(horizontal=[2], vertical=[1], diagonal=[1, 2])[direction]
        masks = torch.flip(masks, axes)
        boxes = bbox_flip(boxes, (40, 60), direction)
    sample = DetDataSample(
        metainfo=dict(
            ori_shape=(40, 60),
            flip=direction is not None,
            flip_direction=direction,
        )
    )
    sample.pred_instances = InstanceData(
        bboxes=boxes,
        scores=torch.tensor(scores),
        labels=torch.zeros(len(boxes), dtype=torch.long),
        masks=masks,
    )
    return sample


class Detector(torch.nn.Module):
    """A module to wrap; it is never called."""

    test_step = None


@pytest.fixture
def tta_models():
    config = mmengine.Config.fromfile(SHAPES_CONFIG).tta_model
    assert config.pop('type') == 'MaskTTAModel'
    return (
        MaskTTAModel(module=Detector(), **config),
        DetTTAModel(module=Detector(), **config),
    )


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_views_are_merged_with_their_masks(tta_models, direction):
    first, second = [4, 4, 24, 24], [30, 10, 50, 38]
    views = [
        view([first], [0.6]),
        view([second, [5, 5, 25, 25]], [0.9, 0.5], direction),
    ]
    mask_tta, _ = tta_models
    (merged,) = mask_tta.merge_preds([views])
    expected = view([second, first], [0.9, 0.6]).pred_instances
    merged = merged.pred_instances
    assert merged.scores.tolist() == pytest.approx([0.9, 0.6])
    assert torch.equal(merged.bboxes, expected.bboxes)
    assert torch.equal(merged.masks, expected.masks)


def test_views_without_detections_or_masks(tta_models):
    mask_tta, _ = tta_models
    empty = [view([], []), view([], [], 'horizontal')]
    (merged,) = mask_tta.merge_preds([empty])
    assert merged.pred_instances.masks.shape == (0, 40, 60)
    boxes = view([[4, 4, 24, 24]], [0.6], 'horizontal')
    del boxes.pred_instances.masks
    (merged,) = mask_tta.merge_preds([[boxes]])
    assert merged.pred_instances.bboxes.tolist() == [[4, 4, 24, 24]]
    assert 'masks' not in merged.pred_instances
    boxes.pred_instances.masks = [dict(size=[40, 60], counts='')]
    with pytest.raises(ValueError, match='RLEMasks'):
        mask_tta.merge_preds([[boxes]])


@pytest.mark.parametrize('nms, count', [('nms', 2), ('soft_nms', 4)])
def test_boxes_and_scores_equal_those_of_mmdet(tta_models, nms, count):
    views = [
        view([[4, 4, 24, 24], [6, 4, 26, 24]], [0.6, 0.5]),
        view([[5, 5, 25, 25], [30, 10, 50, 38]], [0.55, 0.9], 'vertical'),
    ]
    mask_tta, mmdet_tta = tta_models
    mask_tta.tta_cfg.nms.type = mmdet_tta.tta_cfg.nms.type = nms
    (merged,) = mask_tta.merge_preds([[v.clone() for v in views]])
    for one in views:
        del one.pred_instances.masks
    (expected,) = mmdet_tta.merge_preds([views])
    merged, expected = merged.pred_instances, expected.pred_instances
    assert len(expected) == count
    for key in ('bboxes', 'scores', 'labels'):
        assert torch.equal(merged[key], expected[key])
