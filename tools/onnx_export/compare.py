"""Compare the detections of an ONNX file with PyTorch's."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from mmengine.structures import InstanceData

Detections = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class Difference(NamedTuple):
    """The largest difference between two results for the same images."""

    detections: int  # that both results have, in all images together
    box: float  # largest, in pixels
    score: float  # largest
    mask_iou: float  # smallest, two pixels aside
    alone: int = 0  # detections that only one result has

    def __str__(self) -> str:
        alone = f'; in one result only: {self.alone}'
        return (
            f'{self.detections} detections: boxes differ by at most '
            f'{self.box:.1g} pixels, scores by at most {self.score:.1g}; '
            f'masks have an IoU of at least {self.mask_iou:.4f}'
            + (alone if self.alone else '')
        )

    def tolerable(self) -> bool:
        """Whether everything is within ``LIMIT`` and ``ALONE``."""
        return (
            self.box <= LIMIT.box
            and self.score <= LIMIT.score
            and self.mask_iou >= LIMIT.mask_iou
            and self.alone <= ALONE * self.detections
        )


LIMIT = Difference(detections=0, box=0.1, score=1e-3, mask_iou=0.99)
# Rounding decides whether NMS removes a box that overlaps another by nearly
# its threshold, and which of two nearly equal scores is the last one kept.
ALONE = 0.01


def difference(detections: Detections, expected: InstanceData) -> Difference:
    """Compare one image's detections, in whatever order.

    Two detections are partners if they have the same class and each is the
    other's nearest by its box.

    Args:
        detections: the file's boxes (n, 4), scores (n,), labels (n,) and masks
            (n, H, W).
        expected: PyTorch's, on the CPU.
    """
    boxes, scores, labels, masks = detections
    if not len(boxes) or not len(expected):
        return Difference(0, 0.0, 0.0, 1.0, len(boxes) + len(expected))
    distances = abs(boxes[:, None] - expected.bboxes.numpy()).max(axis=2)
    distances[labels[:, None] != expected.labels.numpy()] = np.inf
    nearest, back = distances.argmin(axis=1), distances.argmin(axis=0)
    mine = np.arange(len(boxes))
    mine = mine[(back[nearest] == mine) & np.isfinite(distances.min(axis=1))]
    theirs = nearest[mine]
    score_differences = abs(scores[mine] - expected.scores.numpy()[theirs])
    masks, expected_masks = masks[mine], expected.masks.numpy()[theirs]
    intersection = (masks & expected_masks).sum(axis=(1, 2))
    union = (masks | expected_masks).sum(axis=(1, 2))
    # Rounding decides about pixels whose probability is the threshold.
    intersection = np.minimum(intersection + 2, union)
    return Difference(
        len(mine),
        float(distances[mine, theirs].max(initial=0)),
        float(score_differences.max(initial=0)),
        float(np.where(union, intersection / union.clip(1), 1).min(initial=1)),
        len(boxes) + len(expected) - 2 * len(mine),
    )


def largest_difference(differences: Sequence[Difference]) -> Difference:
    """Combine the differences of several images."""
    counts, box, score, mask_iou, alone = zip(*differences)
    return Difference(
        sum(counts), max(box), max(score), min(mask_iou), sum(alone)
    )
