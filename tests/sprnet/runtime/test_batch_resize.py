import pytest
import torch
from mmdet.models.data_preprocessors import BatchSyncRandomResize
from mmengine.logging import MessageHub
from support.helpers import OBJECTS, sample

from projects.sprnet.mask_targets import check_masks, mask_targets
from projects.sprnet.runtime import MaskBatchSyncRandomResize


@pytest.mark.parametrize('size', [(256, 192), (128, 128)])
def test_masks_are_resized_with_images_and_boxes(size):
    MessageHub.get_current_instance().update_info('iter', 0)
    results = []
    for kind in MaskBatchSyncRandomResize, BatchSyncRandomResize:
        resize = kind((64, 256))
        resize._input_size = size
        before = sample(OBJECTS, [0, 1, 2])
        torch.manual_seed(0)
        images, (after,) = resize(torch.rand(1, 3, 128, 128), [before])
        results.append((images, after.gt_instances, after.metainfo))
    (images, objects, meta), (expected, stock, stock_meta) = results
    assert torch.equal(images, expected) and images.shape[2:] == size
    assert torch.equal(objects.bboxes, stock.bboxes) and meta == stock_meta
    check_masks(objects, meta)
    original = sample(OBJECTS, [0, 1, 2]).gt_instances
    index = torch.arange(3)
    targets, expected = (
        mask_targets(gt.masks, index, gt.bboxes, 32)
        for gt in (objects, original)
    )
    assert (targets != expected).float().mean() < 0.03


def test_images_without_masks_are_mmdetections_affair():
    MessageHub.get_current_instance().update_info('iter', 0)
    resize = MaskBatchSyncRandomResize((64, 256))
    resize._input_size = (64, 64)
    one = sample(OBJECTS, [0, 1, 2])
    del one.gt_instances.masks
    images, _ = resize(torch.rand(1, 3, 128, 128), [one])
    assert images.shape[2:] == (64, 64)
