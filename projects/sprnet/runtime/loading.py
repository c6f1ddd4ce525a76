"""Load images as a config does, and make pictures of what it loads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

COLOURED = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')


def load_image(
    steps: Sequence[Callable], given: Any
) -> tuple[dict, Sequence[Callable]]:
    """Run the steps of a pipeline until one has loaded the image.

    Args:
        steps: The transforms of a pipeline.
        given: What the first of them takes, such as a dict with ``img_path``.

    Returns:
        The results with ``img``, and the steps that are left.

    Raises:
        InputError: No step loads an image, or one skips it.
        Exception: Whatever a step raises for an image that it cannot load.
    """
    for done, step in enumerate(steps, start=1):
        given = step(given)
        if given is None:
            raise InputError(f'{step} skips the image')
        if 'img' in given:
            return given, steps[done:]
    raise InputError('no step of the pipeline loads an image')


def as_picture(image: np.ndarray) -> np.ndarray:
    """Make a picture of an image with any values and number of channels.

    The first three channels are shown; fewer become grey. Values that do not
    fit into 0..255, and fractions up to 1, are stretched to fill it.

    Args:
        image: (H, W) or (H, W, C), of any type.

    Returns:
        (H, W, 3) uint8, a copy.
    """
    image = image.reshape(*image.shape[:2], -1)
    image = image[..., :3] if image.shape[2] > 2 else image[..., [0, 0, 0]]
    if image.dtype != np.uint8:
        image = np.nan_to_num(image.astype(float), posinf=0, neginf=0)
        low, high = image.min(), image.max()
        if low < 0 or high > 255 or high <= 1:
            image = (image - low) * (255 / ((high - low) or 1))
    return image.astype(np.uint8)


def picture_path(path: Path) -> Path:
    """Add .jpg to a path if its format has no colours or is no picture's."""
    return path if path.suffix.lower() in COLOURED else Path(f'{path}.jpg')
