"""What predict.py draws: pictures, videos and contact sheets."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np

COLOURED = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
SHEET = 12_000  # pixels a side, of a contact sheet at most


def write_picture(picture: np.ndarray, path: Path) -> Path:
    """Write a picture, as JPEG where colours have no file of its suffix."""
    if path.suffix.lower() not in COLOURED:
        path = Path(f'{path}.jpg')
    mmcv.imwrite(picture, str(path))
    return path


def mp4_name(name: Path) -> Path:
    """What the video made of a video is called."""
    return name if name.suffix == '.mp4' else Path(f'{name}.mp4')


def write_video(pictures: Iterator[np.ndarray], path: Path, fps: float) -> int:
    """Write a video and return how many frames it has.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    writer, count = cv2.VideoWriter(), 0
    try:
        for picture in pictures:
            if not count:  # only a frame knows how it is turned
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
    """Write pictures as one grid, about square, each at most ``cell`` wide and
    high with its margin, or less if there are many."""
    columns = int(np.ceil(len(files) ** 0.5))
    cell = min(cell, SHEET // columns)
    side = cell - 8
    pictures = [mmcv.imrescale(mmcv.imread(f), (side, side)) for f in files]
    rows = []
    for first in range(0, len(pictures), columns):
        row = pictures[first : first + columns]
        shape = (max(len(picture) for picture in row) + 8, cell)
        cells = [mmcv.impad(p, shape=shape, pad_val=(255,) * 3) for p in row]
        row = np.hstack(cells)
        rows.append(
            mmcv.impad(
                row, shape=(len(row), columns * cell), pad_val=(255,) * 3
            )
        )
    mmcv.imwrite(np.vstack(rows), str(out))
