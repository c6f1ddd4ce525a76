"""What every form of data is read into: pictures with objects."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from common.files import COPIES, PICTURES, RESULTS, files_below

import mmcv
import numpy as np
from dataset_check.objects import check_mask
from pycocotools import mask as coco_mask

from projects.sprnet.errors import InputError
from projects.sprnet.runtime.image_guard import find_truncation

PARTS = dict(
    train='train',
    training='train',
    val='val',
    dev='val',
    valid='val',
    validation='val',
    test='test',
    testing='test',
)
OURS = RESULTS, COPIES  # marks of folders that are no input
# Faults of masks that pycocotools draws as they are meant
HARMLESS = ('empty mask', 'polygon out of the image', 'self-crossing polygon')


class Object(NamedTuple):
    """An object of a picture."""

    label: str
    rle: dict | None  # COCO's run lengths; None where only a box is known
    bbox: list[float]  # x, y, width, height in pixels
    iscrowd: int = 0


class Picture(NamedTuple):
    """A picture and its objects."""

    path: Path
    height: int
    width: int
    objects: list[Object]
    notes: list[str] = []  # what a user should know about how it was read


class Source(NamedTuple):
    """A picture to read.

    ``read`` raises InputError for what it cannot read.
    """

    file: Path  # named where it cannot be read
    read: Callable[[], Picture]
    part: str | None  # 'train', 'val' or 'test', if the folders say so


def part_of(words: Iterable[str]) -> str | None:
    """The part of a data set that one of these words names, if one does.

    A year may follow, as in COCO's train2017.
    """
    for word in words:
        if part := PARTS.get(word.lower().rstrip('0123456789')):
            return part
    return None


def part_of_file(file: Path, folder: Path) -> str | None:
    """The part of a data set that a file's folders below ``folder`` name."""
    inside = file.is_relative_to(folder)
    return part_of(file.relative_to(folder).parts[:-1]) if inside else None


def images_below(folder: Path) -> list[Path]:
    """A user's images in a folder and its subfolders, sorted."""
    return files_below(folder, PICTURES, OURS)


def refuse(reason: str) -> None:
    """Read nothing.

    Raises:
        InputError: Always, with this reason.
    """
    raise InputError(reason)


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width of a picture as MMDetection loads it.

    MMDetection rotates a picture by its EXIF tag.

    Raises:
        InputError: It is missing or cannot be read.
    """
    if not path.is_file() or not path.stat().st_size:
        raise InputError(f'its image {path} is missing or empty')
    if damage := find_truncation(path):
        raise InputError(f'its image {path} is damaged: {damage}')
    picture = mmcv.imread(path)
    if picture is None:
        raise InputError(f'its image {path} cannot be read')
    return picture.shape[:2]


def run_lengths(segmentation: Any, height: int, width: int) -> dict:
    """Run lengths of COCO's polygons or run lengths.

    Raises:
        InputError: They are none, or do not fit into the image.
    """
    for kind, what in check_mask(segmentation, height, width, True):
        if kind not in HARMLESS:
            raise InputError(f'a mask is no COCO mask: {what}')
    if isinstance(segmentation, dict):
        if isinstance(segmentation['counts'], str):
            return segmentation
        return coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))


def object_of(label: str, rle: dict, iscrowd: int = 0) -> Object:
    """An object whose box is that of its mask.

    Raises:
        InputError: It covers no pixel.
    """
    if not coco_mask.area(rle):
        raise InputError(f'an object {label!r} covers no pixel of the image')
    return Object(label, rle, coco_mask.toBbox(rle).tolist(), iscrowd)


def encode(mask: np.ndarray) -> dict:
    """Run lengths of a mask, (H, W) bool."""
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))
