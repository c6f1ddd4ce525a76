"""Non-maximum suppression of a batch: in PyTorch mmcv's, in ONNX one node."""

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
    max_per_image: int,
) -> Tensor:
    """Select the best boxes of each image that do not overlap.

    Args:
        boxes: (N, M, 4) as (x1, y1, x2, y2).
        scores: (N, M).
        iou_threshold: a box is dropped if its IoU with a better one exceeds
            this.
        score_threshold: a box is kept only if its score exceeds this.
        max_per_image: number of boxes that an image keeps at most.

    Returns:
        (P, 2) image, in 0..N - 1, and box, in 0..M - 1, of all P kept boxes,
        image by image and best first.
    """
    kept = []
    for n in range(len(boxes)):
        (indices,) = (scores[n] > score_threshold).nonzero(as_tuple=True)
        _, best = nms(boxes[n, indices], scores[n, indices], iou_threshold)
        indices = indices[best[:max_per_image]]
        kept.append(torch.stack([torch.full_like(indices, n), indices], dim=1))
    return torch.cat(kept)


@suppress.register_fake
def _(boxes, scores, iou_threshold, score_threshold, max_per_image):
    kept = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty((kept, 2), dtype=torch.long)


def _onnx_suppress(
    boxes, scores, iou_threshold, score_threshold, max_per_image
):
    """Express :func:`suppress` in ONNX operators."""
    kept = op.NonMaxSuppression(
        boxes,
        op.Unsqueeze(scores, op.Constant(value_ints=[1])),  # a single class
        op.Constant(value_ints=[max_per_image]),
        op.Constant(value_floats=[iou_threshold]),
        op.Constant(value_floats=[score_threshold]),
    )
    # The columns are image, class and box.
    return op.Gather(kept, op.Constant(value_ints=[0, 2]), axis=1)


TRANSLATIONS = {torch.ops.sprnet.suppress.default: _onnx_suppress}
