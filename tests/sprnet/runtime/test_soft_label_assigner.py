"""CompactSoftLabelAssigner beside MMDetection's own."""

import pytest
import torch
from mmdet.models.task_modules.assigners import DynamicSoftLabelAssigner
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
from mmengine.structures import InstanceData
from support.recorder import Recorder

from projects.sprnet.runtime.soft_label_assigner import (
    CompactSoftLabelAssigner,
)

SIDE = 64
STRIDES = [8, 16, 32]
CLASSES = 5


def image_of(objects, seed, masks=False):
    """Predictions of 84 points at three strides, and objects."""
    draw = torch.Generator().manual_seed(seed)
    sizes = [(SIDE // stride, SIDE // stride) for stride in STRIDES]
    priors = torch.cat(
        MlvlPointGenerator(STRIDES, offset=0).grid_priors(
            sizes, device='cpu', with_stride=True
        )
    )
    reach = priors[:, 2:] * (0.5 + torch.rand(len(priors), 2, generator=draw))
    predictions = InstanceData(
        priors=priors,
        bboxes=torch.cat((priors[:, :2] - reach, priors[:, :2] + reach), 1),
        scores=torch.randn(len(priors), CLASSES, generator=draw) * 3,
    )
    corner = 40 * torch.rand(objects, 2, generator=draw)
    side = 10 + 20 * torch.rand(objects, 2, generator=draw)
    truth = InstanceData(
        bboxes=torch.cat((corner, corner + side), dim=1),
        labels=torch.randint(CLASSES, (objects,), generator=draw),
    )
    if masks:
        truth.masks = torch.rand(objects, SIDE, SIDE, generator=draw) > 0.7
    return predictions, truth


@pytest.mark.parametrize('masks', [False, True])
@pytest.mark.parametrize('objects', [1, 2, 40])
def test_it_assigns_as_mmdetections(objects, masks):
    for seed in range(10):
        image = image_of(objects, seed, masks)
        expected = DynamicSoftLabelAssigner(topk=13).assign(*image)
        found = CompactSoftLabelAssigner(topk=13).assign(*image)
        assert found.num_gts == expected.num_gts == objects
        assert (found.gt_inds > 0).any()
        for name in ('gt_inds', 'labels', 'max_overlaps'):
            actual, wanted = getattr(found, name), getattr(expected, name)
            assert actual.dtype == wanted.dtype
            torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize('objects', [0, 1])
def test_nothing_is_assigned_where_no_point_is_in_an_object(objects):
    predictions, truth = image_of(objects, 0)
    truth.bboxes = torch.tensor([[1.0, 1.0, 2.0, 2.0]])[:objects]
    found = CompactSoftLabelAssigner().assign(predictions, truth)
    assert found.num_gts == objects
    assert not found.gt_inds.any() and (found.labels == -1).all()


def test_memory_does_not_grow_with_classes_times_objects():
    predictions, truth = image_of(40, 0)
    predictions.scores = torch.randn(len(predictions), 3000)
    with Recorder() as made:
        CompactSoftLabelAssigner().assign(predictions, truth)
    assert 0 < max(made.sizes) <= predictions.scores.numel()
