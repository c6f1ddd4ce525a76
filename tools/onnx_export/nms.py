"""Non-maximum suppression of a batch: mmcv's in PyTorch, one node in ONNX."""

import torch
from mmcv.ops import nms
from onnxscript import opset18 as op
from torch import Tensor


@torch.library.custom_op('sprnet::suppress', mutates_args=())
def suppress(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    score_threshold: float,
    count: int,
) -> Tensor:
    """The best boxes of each image, of overlapping ones the best.

    Args:
        boxes: (N, M, 4) as (x1, y1, x2, y2). scores: (N, M).
        iou_threshold: of boxes with a higher IoU one is kept.
        score_threshold: boxes are kept if their scores exceed it.
        count: so many of an image at most.

    Returns:
        (D, 2) image and place, in 0..M - 1, of each of the D boxes kept, image
        by image and best first.
    """
    kept = []
    for n in range(len(boxes)):
        (places,) = (scores[n] > score_threshold).nonzero(as_tuple=True)
        _, best = nms(boxes[n, places], scores[n, places], iou_threshold)
        places = places[best[:count]]
        kept.append(torch.stack([torch.full_like(places, n), places], dim=1))
    return torch.cat(kept)


@suppress.register_fake
def _(boxes, scores, iou_threshold, score_threshold, count):
    kept = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty((kept, 2), dtype=torch.long)


def _onnx_suppress(boxes, scores, iou_threshold, score_threshold, count):
    """:func:`suppress` in ONNX's operators."""
    kept = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, op.Constant(value_ints=[1])),  # of one class
        op.Constant(value_ints=[count]),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[score_threshold]),
    )
    # Its columns are image, class and box.
    return op.Gather(kept, op.Constant(value_ints=[0, 2]), axis=1)


TRANSLATIONS = {torch.ops.sprnet.suppress.default: _onnx_suppress}
