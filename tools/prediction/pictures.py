"""Name and write the pictures and videos of predict.py."""

from argparse import ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np


def picture_file(text: str) -> Path:
    """Parse the path of a picture to write."""
    if not cv2.haveImageWriter(text):
        raise ArgumentTypeError(f'{text} must end in .png, .jpg or the like')
    return Path(text)


def mp4_name(name: Path) -> Path:
    """Name the MPEG-4 file drawn from a video."""
    return name if name.suffix == '.mp4' else Path(f'{name}.mp4')


def write_video(pictures: Iterator[np.ndarray], path: Path, fps: float) -> int:
    """Write a video; return how many frames it has.

    Raises:
        OSError: OpenCV cannot write the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer, count = cv2.VideoWriter(), 0
    try:
        for picture in pictures:
            if not count:  # frames may be turned, unlike the reader's size
                height, width = picture.shape[:2]
                code = cv2.VideoWriter.fourcc(*'mp4v')
                if not writer.open(str(path), code, fps, (width, height)):
                    raise OSError(f'OpenCV cannot write {path}')
            count += 1
            writer.write(np.ascontiguousarray(picture))
    finally:
        writer.release()
    return count
