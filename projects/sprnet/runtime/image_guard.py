"""Checks of an image file before it is decoded."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
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
def pillow_limit(max_pixels: float | None) -> Iterator[None]:
    """Replace Pillow's own limit, ``MAX_IMAGE_PIXELS``, for a while."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def open_image(
    source: str | os.PathLike | BinaryIO, max_pixels: float
) -> Image.Image:
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


def find_damage(
    source: str | os.PathLike | BinaryIO, max_pixels: float = inf
) -> str:
    """Decode an image; say what is wrong, or ''."""
    with warnings.catch_warnings(), pillow_limit(max_pixels):
        warnings.simplefilter('ignore')
        # Some formats hold images larger than their header says.
        warnings.simplefilter('error', Image.DecompressionBombWarning)
        try:
            with open_image(source, max_pixels) as picture:
                # Decodes a JPEG at 1/8 of its size.
                picture.draft(None, (1, 1))
                picture.load()
        except Exception as error:  # Pillow raises errors of any type
            return str(error)
    return ''


def find_truncation(path: str | os.PathLike) -> str:
    """Say that an image file ends too early, or ''.

    OpenCV fills in what is missing. Of other damage it returns no image, and
    what Pillow cannot read it may read.
    """
    damage = find_damage(path)
    return damage if 'truncated' in damage.lower() else ''


def pages_of(path: str | os.PathLike) -> int:
    """How many pages or frames an image file has, as far as Pillow knows.

    The second picture in a phone's JPEG (MPO) is no page: it is a preview.
    """
    try:
        with open_image(path, inf) as picture:
            is_mpo = picture.format == 'MPO'
            return 1 if is_mpo else getattr(picture, 'n_frames', 1)
    except Exception:  # Pillow raises errors of many types
        return 1


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
