"""Masks as COCO run lengths, as JSON holds them."""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask


def as_text(masks: Sequence[dict]) -> list[dict]:
    """Run lengths whose counts are text instead of bytes."""
    return [dict(mask, counts=mask['counts'].decode()) for mask in masks]


def cropped(mask: dict) -> tuple[int, int, np.ndarray]:
    """The part of an image that a mask covers.

    Returns:
        Its first column and row, and the mask there, (h, w) of 0 and 1.
    """
    left, top, width, height = coco_mask.toBbox(mask).astype(int)
    inside = coco_mask.decode(mask)
    return left, top, inside[top : top + height, left : left + width]


def dense(masks: Sequence[dict], size: tuple[int, int]) -> np.ndarray:
    """Images of masks, (n, height, width) bool."""
    images = np.zeros((len(masks), *size), bool)
    for image, mask in zip(images, masks):
        left, top, inside = cropped(mask)
        height, width = inside.shape
        image[top : top + height, left : left + width] = inside
    return images
