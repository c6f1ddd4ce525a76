"""Checks of an image file before it is decoded."""

import os
from typing import BinaryIO

from PIL import Image


def is_inside(file_name: str, folder: str) -> bool:
    """Tell whether a file name, joined to a folder, stays inside of it.

    URLs never do. Symbolic links are not followed.
    """
    folder = os.path.abspath(folder)
    path = os.path.abspath(os.path.join(folder, file_name))
    return '://' not in file_name and (
        os.path.commonpath([folder, path]) == folder
    )


def open_image(source: str | BinaryIO, max_pixels: int) -> Image.Image:
    """Open an image by its header, without decoding it.

    Raises:
        DecompressionBombError: The header claims more than ``max_pixels``, or
            more than twice Pillow's own ``MAX_IMAGE_PIXELS``.
        Exception: Whatever Pillow raises for a file that it cannot read.
    """
    image = Image.open(source)
    if image.width * image.height > max_pixels:
        image.close()
        raise Image.DecompressionBombError(
            f'{image.width} x {image.height} pixels exceed '
            f'max_pixels={max_pixels}'
        )
    return image
