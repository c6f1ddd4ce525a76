"""Read uploaded images, which may be broken or too large."""

import warnings
from pathlib import Path

import mmcv
import numpy as np
from PIL import Image, UnidentifiedImageError

from projects.sprnet.errors import InputError
from projects.sprnet.runtime.image_guard import open_image

MAX_PIXELS = 50_000_000  # of an image; 150 MB when decoded


def read_image(path: str) -> np.ndarray:
    """Read an image file as MMDetection does, (H, W, 3) uint8 RGB.

    Raises:
        FileNotFoundError: The file is missing.
        InputError: The file is not an image, is damaged, or is too large and
            not decoded.
    """
    name = Path(path).name
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        # Pillow's readers raise many types of errors for broken files.
        try:
            with open_image(path, MAX_PIXELS) as picture:
                picture.load()
        except FileNotFoundError:
            raise
        except Image.DecompressionBombError as error:
            raise InputError(
                f'{name} has more than {MAX_PIXELS:,} pixels; make it smaller'
            ) from error
        except UnidentifiedImageError as error:
            raise InputError(f'{name} is not an image') from error
        except Exception as error:
            raise InputError(f'{name} is a damaged image: {error}') from error
    image = mmcv.imread(path, channel_order='rgb')
    if image is None:
        raise InputError(
            f'{name} has a format that MMDetection cannot read; save it as '
            'JPEG or PNG'
        )
    return image
