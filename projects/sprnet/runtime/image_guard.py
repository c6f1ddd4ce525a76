"""Checks of an image file before it is decoded."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def pillow_limit(max_pixels: int | None) -> Iterator[None]:
    """Replace Pillow's own limit, ``MAX_IMAGE_PIXELS``, for a while."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def open_image(source: str | BinaryIO, max_pixels: int) -> Image.Image:
    """Open an image by its header, without decoding it.

    Raises:
        DecompressionBombError: The header claims more than ``max_pixels``.
        Exception: Whatever Pillow raises for a file that it cannot read.
    """
    with pillow_limit(None):
        image = Image.open(source)
    if image.width * image.height > max_pixels:
        image.close()
        raise Image.DecompressionBombError(
            f'{image.width} x {image.height} pixels exceed '
            f'max_pixels={max_pixels}'
        )
    return image


def refuse_huge(path: str, max_pixels: int) -> None:
    """Refuse an image file that claims too many pixels.

    A file that Pillow cannot open passes, because the pipeline of a config may
    be able to load it.

    Raises:
        DecompressionBombError: See :func:`open_image`.
    """
    try:
        open_image(path, max_pixels).close()
    except Image.DecompressionBombError:
        raise
    except Exception:  # Pillow raises errors of many types
        pass
