"""The image size and the anchors that fit a data set."""

import math
from typing import NamedTuple

from common.anchor_fit import Objects, best_overlaps, fitted, with_base

import numpy as np

LEAST_SIDE = 12  # pixels that nine of ten objects should have, at least
STEP = 64  # of image sizes; the network's largest stride
LEAST_SIZE, LARGEST_SIZE = 256, 1024
ENLARGED = 2  # more would only blur
ITERATIONS = 1800  # of a training, when --epochs is not given
MOST_EPOCHS = 100
DETECTIONS = 100  # of a picture, as COCO has it; more in steps of it
# From P3 as RetinaNet has them, or from P2
STRIDES = ((8, 16, 32, 64, 128), (4, 8, 16, 32, 64))
BASES = (4, 3, 2)
BOX_IOU, MASK_IOU = 0.5, 0.7  # above which anchors train boxes and masks
# P2 has four times the locations of P3; the mean IoU must gain this.
WORTH = 0.05
ANCHORS = dict(
    type='AnchorGenerator', scales_per_octave=3, ratios=[0.5, 1.0, 2.0]
)


class Anchors(NamedTuple):
    """Anchors, and how they fit the objects."""

    base: float
    strides: tuple[int, ...]
    overlap: float  # mean IoU of the objects with their best anchors
    boxes: float  # of objects with an anchor above BOX_IOU
    masks: float  # of objects with an anchor above MASK_IOU


def propose_size(objects: Objects) -> int:
    """Choose the side of the square that images are scaled into."""
    relative = objects.sides / objects.images.max(axis=1)
    wanted = LEAST_SIDE / np.quantile(relative, 0.1)
    largest = ENLARGED * np.quantile(objects.images.max(axis=1), 0.95)
    size = min(wanted, largest, LARGEST_SIZE)
    return max(LEAST_SIZE, round(size / STEP) * STEP)


def propose_anchors(objects: Objects, size: int) -> Anchors:
    """Choose the anchors that overlap the objects most on average."""
    seen = fitted(objects, size)
    coarse, fine = (
        max((rate(seen, base, s) for base in BASES), key=lambda a: a.overlap)
        for s in STRIDES
    )
    return fine if fine.overlap > coarse.overlap + WORTH else coarse


def from_p2(anchors: Anchors) -> Anchors:
    """The same sizes on a pyramid that starts at P2, as Mask R-CNN's does."""
    factor = anchors.strides[0] // STRIDES[1][0]
    return anchors._replace(base=anchors.base * factor, strides=STRIDES[1])


def rate(objects: Objects, base: float, strides: tuple[int, ...]) -> Anchors:
    """Measure how anchors fit the objects."""
    generator = with_base(dict(ANCHORS, strides=list(strides)), base)
    best = best_overlaps(objects, generator)
    shares = [float((best > iou).mean()) for iou in (BOX_IOU, MASK_IOU)]
    return Anchors(base, strides, float(best.mean()), *shares)


def propose_epochs(pictures: int, batch: int) -> int:
    """Choose the epochs that make :data:`ITERATIONS` iterations."""
    epochs = round(ITERATIONS / math.ceil(pictures / batch))
    return min(max(epochs, 1), MOST_EPOCHS)


def propose_detections(most: int) -> int:
    """Choose how many objects to look for in a picture that has ``most``."""
    return DETECTIONS * math.ceil(most / DETECTIONS)
