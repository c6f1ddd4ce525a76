import copy

import numpy as np
import pytest
import torch
from mask_errors import main, match, shapes_and_frames
from mmengine.structures import InstanceData
from support.helpers import SHAPES_CONFIG, build_model, sample

from projects.sprnet.pasting import paste_masks

# Two ellipses of class 1 and a third of class 2
GT = sample(
    [[10, 10, 50, 60], [60, 20, 120, 50], [20, 70, 60, 110]], [1, 1, 2]
)
FOUND = InstanceData(
    bboxes=torch.tensor(
        [
            [62.0, 18, 122, 52],  # the second, a bit off
            [10, 10, 50, 60],  # the first's box, of another class
            [24, 74, 64, 114],  # the third, shifted
            [0, 0, 8, 8],  # nothing
        ]
    ),
    labels=torch.tensor([1, 2, 2, 1]),
)


def test_a_detection_is_of_the_object_of_its_class_that_it_overlaps():
    matched, index = match(FOUND, GT.gt_instances)
    assert matched.tolist() == [0, 2] and index.tolist() == [1, 2]
    matched, index = match(FOUND, sample([], []).gt_instances)
    assert len(matched) == len(index) == 0


@pytest.mark.parametrize('frame', [1.0, 1.2])
def test_true_shapes_in_true_boxes_are_the_annotated_masks(frame):
    predicted = torch.zeros(4, 32, 32)
    head = build_model(**{'mask_head.frame': frame}).mask_head
    ways = shapes_and_frames(head, predicted, FOUND, GT.gt_instances)
    frames = head.frames(FOUND.bboxes)
    assert torch.equal(ways['as tested'][0], predicted)
    assert torch.equal(ways['as tested'][1], frames)
    assert torch.equal(ways['true shape'][1], frames)
    assert torch.equal(ways['true box'][0], predicted)
    pasted = paste_masks(*ways['both true'], 128, 128, 0.5).numpy()
    for n, instance in ((0, 1), (2, 2)):
        truth = GT.gt_instances.masks.masks[instance].astype(bool)
        overlap = (pasted[n] & truth).sum() / (pasted[n] | truth).sum()
        assert overlap > 0.9
    assert not pasted[[1, 3]].any()
    shifted = paste_masks(*ways['true shape'], 128, 128, 0.5).numpy()[2]
    assert np.array_equal(shifted[4:, 4:], pasted[2][:-4, :-4])


def test_an_object_without_a_mask_is_no_detections():
    gt = copy.deepcopy(GT.gt_instances)
    gt.masks.masks[1] = 0
    matched, index = match(FOUND, gt)
    assert matched.tolist() == [2] and index.tolist() == [2]


def test_prints_a_line_of_each_way(shapes, tmp_path, monkeypatch, capsys):
    model = build_model()
    torch.nn.init.normal_(model.bbox_head.retina_cls.bias, std=2)
    checkpoint = tmp_path / 'untrained.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    words = ['mask_errors.py', SHAPES_CONFIG, checkpoint, '--device', 'cpu']
    words += ['--cfg-options', f'data_root={shapes}']
    words += ['test_dataloader.num_workers=0']
    words += ['test_dataloader.persistent_workers=False']
    monkeypatch.setattr('sys.argv', [str(word) for word in words])
    main()
    table = capsys.readouterr().out.split('masks  ')[-1]
    for way in ('(boxes)', 'as tested', 'true shape', 'true box', 'both true'):
        assert way in table
