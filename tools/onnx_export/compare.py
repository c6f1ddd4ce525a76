"""Whether an ONNX file detects what PyTorch does."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mmengine.structures import InstanceData

Detections = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Difference(NamedTuple):
    """Between two results of the same images, at the most."""

    detections: int  # in all images together
    box: float  # in pixels
    score: float
    mask_iou: float  # at the least

    def __str__(self) -> str:
        return (
            f'{self.detections} detections: boxes differ by '
            f'{self.box:.1g} pixels at most, scores by {self.score:.1g}, '
            f'masks have an IoU of at least {self.mask_iou:.4f}'
        )

    def tolerable(self) -> bool:
        """Whether all of it is within ``LIMIT``."""
        return (
            self.box <= LIMIT.box
            and self.score <= LIMIT.score
            and self.mask_iou >= LIMIT.mask_iou
        )


LIMIT = Difference(detections=0, box=0.1, score=1e-3, mask_iou=0.99)


def difference(ours: Detections, theirs: InstanceData) -> Difference:
    """How far an image's detections are apart.

    Args:
        ours: boxes (n, 4), scores (n,), labels (n,) and masks (n, H, W).
        theirs: of PyTorch, on the CPU.

    Raises:
        ValueError: They are not the same objects: differently many, or not
            each near one of the same class.
    """
    boxes, scores, labels, masks = ours
    if len(theirs) != len(boxes):
        raise ValueError(f'{len(boxes)} detections, and PyTorch {len(theirs)}')
    if not len(boxes):
        return Difference(0, 0.0, 0.0, 1.0)
    # Equal scores may change places.
    apart = abs(boxes[:, None] - theirs.bboxes.numpy()).max(axis=2)
    apart[labels[:, None] != theirs.labels.numpy()] = np.inf
    nearest = apart.argmin(axis=1)
    if len(set(nearest)) < len(nearest) or np.isinf(apart.min(axis=1)).any():
        raise ValueError('other detections than PyTorch')
    others = theirs.masks.numpy()[nearest]
    common = (masks & others).sum(axis=(1, 2))
    union = (masks | others).sum(axis=(1, 2))
    return Difference(
        len(boxes),
        float(apart.min(axis=1).max()),
        float(abs(scores - theirs.scores.numpy()[nearest]).max()),
        float(np.where(union, common / union.clip(1), 1).min()),
    )


def greatest(differences: Sequence[Difference]) -> Difference:
    """Of several images."""
    counts, box, score, mask_iou = zip(*differences)
    return Difference(sum(counts), max(box), max(score), min(mask_iou))
