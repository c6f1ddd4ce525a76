"""tools/mask_errors.py: true shapes and boxes, and the masks as tested."""

import copy

import mask_errors
import numpy as np
import pytest
import torch
from mask_errors import match, predict, shapes_and_frames
from mmengine.structures import InstanceData
from support.helpers import CONFIGS, SHAPES_CONFIG, build_model, sample
from support.in_process import (
    ANY_CHECKPOINT,
    complaint,
    run_command,
    save_checkpoint,
)

from projects.sprnet import SPRHead
from projects.sprnet.pasting import paste_one_by_one

# Two ellipses of class 1 and a third of class 2
GT = sample(
    [[10, 10, 50, 60], [60, 20, 120, 50], [20, 70, 60, 110]], [1, 1, 2]
)
DETECTED = InstanceData(
    bboxes=torch.tensor(
        [
            [62.0, 18, 122, 52],  # the second, slightly off
            [10, 10, 50, 60],  # the first's box, of another class
            [24, 74, 64, 114],  # the third, shifted
            [0, 0, 8, 8],  # nothing
        ]
    ),
    labels=torch.tensor([1, 2, 2, 1]),
)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Weights with which the classes' scores differ."""
    model = build_model()
    torch.nn.init.normal_(model.bbox_head.retina_cls.bias, std=2)
    folder = tmp_path_factory.mktemp('checkpoint')
    return save_checkpoint(model, folder / 'untrained.pth')


def test_detections_match_the_object_of_their_class_that_they_overlap():
    matched, objects = match(DETECTED, GT.gt_instances)
    assert matched.tolist() == [0, 2] and objects.tolist() == [1, 2]
    matched, objects = match(DETECTED, sample([], []).gt_instances)
    assert len(matched) == len(objects) == 0


def test_an_object_without_a_mask_matches_nothing():
    gt = copy.deepcopy(GT.gt_instances)
    gt.masks.masks[1] = 0
    matched, objects = match(DETECTED, gt)
    assert matched.tolist() == [2] and objects.tolist() == [2]


@pytest.mark.parametrize('frame', [1.0, 1.2])
def test_true_shapes_in_true_boxes_are_the_annotated_masks(frame):
    predicted = torch.zeros(4, 32, 32)
    head = build_model(**{'mask_head.frame': frame}).mask_head
    ways = shapes_and_frames(head, predicted, DETECTED, GT.gt_instances)
    frames = head.frames(DETECTED.bboxes)
    assert torch.equal(ways['as tested'][0], predicted)
    assert torch.equal(ways['as tested'][1], frames)
    assert torch.equal(ways['true shape'][1], frames)
    assert torch.equal(ways['true box'][0], predicted)
    size = 128, 128
    pasted = paste_one_by_one(*ways['both true'], size, 0.5).numpy()
    for n, instance in ((0, 1), (2, 2)):
        truth = GT.gt_instances.masks.masks[instance].astype(bool)
        overlap = (pasted[n] & truth).sum() / (pasted[n] | truth).sum()
        assert overlap > 0.9
    assert not pasted[[1, 3]].any()
    shifted = paste_one_by_one(*ways['true shape'], size, 0.5).numpy()[2]
    assert np.array_equal(shifted[4:, 4:], pasted[2][:-4, :-4])


class FullMasks(SPRHead):
    """Predicts all cells of every mask."""

    def probabilities(self, *args, **kwargs):
        return torch.ones_like(super().probabilities(*args, **kwargs))


def test_a_head_that_overrides_its_probabilities_is_honoured():
    model = build_model(**{'test_cfg.score_thr': 0.0}).eval()
    model.mask_head.__class__ = FullMasks
    batch = dict(
        inputs=[torch.zeros(3, 128, 128, dtype=torch.uint8)],
        data_samples=[copy.deepcopy(GT)],
    )
    (image,), (shapes,) = predict(model, batch)
    assert len(shapes) == len(image.pred_instances) > 0
    assert (shapes == 1).all()


def test_prints_a_row_for_each_way(checkpoint, shapes, capsys):
    run_command(
        mask_errors,
        *(SHAPES_CONFIG, checkpoint, '--device', 'cpu'),
        *('--cfg-options', f'data_root={shapes}'),
        'test_dataloader.num_workers=0',
        'test_dataloader.persistent_workers=False',
    )
    table = capsys.readouterr().out.split('masks  ')[-1]
    for way in ('(boxes)', 'as tested', 'true shape', 'true box', 'both true'):
        assert way in table


def test_a_model_without_an_spr_head_ends_in_one_sentence(checkpoint):
    retinanet = CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py'
    sentence = complaint(
        mask_errors, retinanet, checkpoint, '--cfg-options', ANY_CHECKPOINT
    )
    assert 'RetinaNet has no mask head of type SPRHead' in sentence
