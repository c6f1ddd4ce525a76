"""Write the pictures, videos and contact sheets of predict.py."""

from argparse import ArgumentTypeError
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np

MAX_SHEET = 12_000  # largest side of a contact sheet, in pixels


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


def contact_sheet(files: Sequence[Path], out: Path, cell: int = 480) -> None:
    """Write pictures as one grid with about as many rows as columns.

    ``cell`` is the side of a picture with its margin, in pixels; it shrinks
    where the grid would be larger than ``MAX_SHEET``.
    """
    columns = int(np.ceil(len(files) ** 0.5))
    cell = min(cell, MAX_SHEET // columns)
    side = cell - 8
    pictures = [mmcv.imrescale(mmcv.imread(f), (side, side)) for f in files]
    rows = []
    for first in range(0, len(pictures), columns):
        row = pictures[first : first + columns]
        shape = (max(len(picture) for picture in row) + 8, cell)
        cells = [mmcv.impad(p, shape=shape, pad_val=(255,) * 3) for p in row]
        row, shape = np.hstack(cells), (shape[0], columns * cell)
        rows.append(mmcv.impad(row, shape=shape, pad_val=(255,) * 3))
    mmcv.imwrite(np.vstack(rows), str(out))
