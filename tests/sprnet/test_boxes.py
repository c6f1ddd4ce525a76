import torch
from mmdet.structures.bbox import scale_boxes

from projects.sprnet.boxes import scaled


def test_scaled_boxes_are_mmdets_to_the_last_bit():
    for boxes in (torch.rand(50, 4) * 700, torch.zeros(0, 4)):
        for factors in ((1.3333, 0.7), (1 / 3, 1 / 3)):
            expected = scale_boxes(boxes, factors)
            assert torch.equal(scaled(boxes, factors), expected)
