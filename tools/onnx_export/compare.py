"""Compare the detections of an ONNX file with PyTorch's."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mmengine.structures import InstanceData

from projects.sprnet.runtime.errors import InputError

Detections = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Difference(NamedTuple):
    """The largest difference between two results for the same images."""

    detections: int  # in all images together
    box: float  # largest, in pixels
    score: float  # largest
    mask_iou: float  # smallest, one pixel aside

    def __str__(self) -> str:
        return (
            f'{self.detections} detections: boxes differ by at most '
            f'{self.box:.1g} pixels, scores by at most {self.score:.1g}; '
            f'masks have an IoU of at least {self.mask_iou:.4f}'
        )

    def tolerable(self) -> bool:
        """Whether boxes, scores and masks are within ``LIMIT``."""
        return (
            self.box <= LIMIT.box
            and self.score <= LIMIT.score
            and self.mask_iou >= LIMIT.mask_iou
        )


LIMIT = Difference(detections=0, box=0.1, score=1e-3, mask_iou=0.99)


def difference(detections: Detections, expected: InstanceData) -> Difference:
    """Compare one image's detections, in whatever order.

    Args:
        detections: the file's boxes (n, 4), scores (n,), labels (n,) and masks
            (n, H, W).
        expected: PyTorch's, on the CPU.

    Raises:
        InputError: They are not the same objects: their numbers differ, or the
            nearest expected objects of the same class are not n different
            ones.
    """
    boxes, scores, labels, masks = detections
    if len(expected) != len(boxes):
        raise InputError(
            f'{len(boxes)} detections, but PyTorch has {len(expected)}'
        )
    if not len(boxes):
        return Difference(0, 0.0, 0.0, 1.0)
    # Matched by box, because the order of equal scores may differ
    distances = abs(boxes[:, None] - expected.bboxes.numpy()).max(axis=2)
    distances[labels[:, None] != expected.labels.numpy()] = np.inf
    nearest = distances.argmin(axis=1)
    smallest = distances.min(axis=1)
    if len(set(nearest)) < len(nearest) or np.isinf(smallest).any():
        raise InputError('detections are not those of PyTorch')
    expected_masks = expected.masks.numpy()[nearest]
    intersection = (masks & expected_masks).sum(axis=(1, 2))
    union = (masks | expected_masks).sum(axis=(1, 2))
    # Rounding decides about a pixel whose probability is the threshold.
    intersection = np.minimum(intersection + 1, union)
    return Difference(
        len(boxes),
        float(smallest.max()),
        float(abs(scores - expected.scores.numpy()[nearest]).max()),
        float(np.where(union, intersection / union.clip(1), 1).min()),
    )


def largest_difference(differences: Sequence[Difference]) -> Difference:
    """Combine the differences of several images."""
    counts, box, score, mask_iou = zip(*differences)
    return Difference(sum(counts), max(box), max(score), min(mask_iou))
