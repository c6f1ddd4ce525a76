"""Images that a visitor sends, whatever they are."""

import warnings
from pathlib import Path

import mmcv
import numpy as np
from PIL import Image, UnidentifiedImageError

from projects.sprnet.runtime.image_guard import open_image

MAX_PIXELS = 50_000_000  # of an image; decoded, three bytes each


def read_image(path: str) -> np.ndarray:
    """An image file as MMDetection reads it, (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: It is missing.
        ValueError: It is no image, breaks off, or is too large, of which
            nothing is decoded then.
    """
    name = Path(path).name
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        # Pillow's readers raise whatever a broken file leads them to.
        try:
            with open_image(path, MAX_PIXELS) as picture:
                picture.load()
        except FileNotFoundError:
            raise
        except Image.DecompressionBombError as error:
            raise ValueError(
                f'{name} has more than the {MAX_PIXELS:,} pixels that are '
                'shown'
            ) from error
        except UnidentifiedImageError as error:
            raise ValueError(f'{name} is no image') from error
        except Exception as error:
            raise ValueError(f'{name} is a damaged image: {error}') from error
    image = mmcv.imread(path, channel_order='rgb')
    if image is None:
        raise ValueError(
            f'{name} is of a format that MMDetection does not read; save it '
            'as JPEG or PNG'
        )
    return image
