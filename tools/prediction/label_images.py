"""Label images of detections, the form that cell tools read."""

from collections.abc import Sequence

import numpy as np


def label_image(masks: np.ndarray, scores: Sequence[float]) -> np.ndarray:
    """Number the objects of an image.

    Args:
        masks: Their masks, (n, H, W) bool.
        scores: Their scores.

    Returns:
        (H, W) uint16: 1 where the object of the best score is, 2 where the
        next one is, and so on; 0 elsewhere. Where objects overlap, the pixel
        belongs to the better one.
    """
    numbers = np.zeros(masks.shape[1:], np.uint16)
    for number, i in enumerate(np.argsort(scores)[::-1], start=1):
        numbers[masks[i] & (numbers == 0)] = number
    return numbers
