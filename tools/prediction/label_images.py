"""Label images of detections, the form that cell tools read."""

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask


def label_image(
    masks: Sequence[dict],
    scores: Sequence[float],
    shape: tuple[int, int],
) -> np.ndarray:
    """Number the objects of an image.

    Args:
        masks: Their masks as COCO run lengths.
        scores: Their scores.
        shape: Height and width of the image.

    Returns:
        (H, W) uint16: 1 where the object of the best score is, 2 where the
        next one is, and so on; 0 elsewhere. Where objects overlap, the pixel
        belongs to the better one.
    """
    numbers = np.zeros(shape, np.uint16)
    for number, i in enumerate(np.argsort(scores)[::-1], start=1):
        inside = coco_mask.decode(masks[i]).astype(bool)
        numbers[inside & (numbers == 0)] = number
    return numbers
