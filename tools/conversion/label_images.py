"""Label images: one image for each picture, in which every object has its own
number (or its own colour) and the background is 0."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from common.files import files_below

import cv2
import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from projects.sprnet.errors import InputError
from projects.sprnet.runtime.image_guard import pillow_limit

from .pictures import (
    OURS,
    Object,
    Picture,
    Source,
    encode,
    images_below,
    object_of,
    part_of,
    part_of_file,
    picture_size,
    refuse,
)

IMAGE_FOLDERS = ('images', 'image', 'imgs', 'img')
LABEL_FOLDERS = ('labels', 'label', 'masks', 'mask')
# Endings by which a label image beside its picture is known
ENDING = re.compile(r'_(cp_masks?|masks?|labels?|instances?)$', re.IGNORECASE)
# Pascal VOC's colour of 255, a border around objects that belongs to none
VOC_BORDER = [224, 224, 192]
FEW = 20  # numbers in an image that may be classes
ObjectsIn = Callable[[np.ndarray], list[Object]]
LOSSY = ('.jpg', '.jpeg', '.jfif', '.webp')


def named_folder(folder: Path, names: Sequence[str]) -> Path | None:
    """The subfolder with one of the names, in whatever case."""
    found = [f for f in sorted(folder.iterdir()) if f.name.lower() in names]
    return next((f for f in found if f.is_dir()), None)


def find(
    source: Path, images: Path | None, objects_in: ObjectsIn
) -> list[Source]:
    """Find label images and their pictures.

    They are in two subfolders of ``source`` or of its train and val. Or both
    are in ``source``, with names that differ by an ending. Or the label images
    are in ``source`` and the pictures in ``images``.
    """
    if images:
        return pairs(images, source, images, objects_in)
    found: list[Source] = []
    for folder in (source, *sorted(f for f in source.iterdir() if f.is_dir())):
        pictures = named_folder(folder, IMAGE_FOLDERS)
        labels = named_folder(folder, LABEL_FOLDERS)
        own = folder == source or part_of([folder.name])
        if own and pictures and labels:
            found += pairs(pictures, labels, source, objects_in)
    if not found and any(ENDING.search(p.stem) for p in label_files(source)):
        found = pairs(source, source, source, objects_in)
    return found


def label_files(folder: Path) -> list[Path]:
    """The files in a folder that may be label images."""
    return [*images_below(folder), *files_below(folder, ('.npy',), OURS)]


def pairs(
    pictures: Path, labels: Path, source: Path, objects_in: ObjectsIn
) -> list[Source]:
    """Pair the pictures of a folder with the label images of another.

    Both may be the same folder. Names agree but for the suffix, and but for an
    ending such as ``_masks``.
    """
    files, images = label_files(labels), images_below(pictures)
    if pictures == labels:
        files = [f for f in files if ENDING.search(f.stem)]
        images = [f for f in images if not ENDING.search(f.stem)]
    by_name: dict[str, list[Path]] = {}
    for file in files:
        name = file.relative_to(labels).with_suffix('').as_posix()
        for key in {name, ENDING.sub('', name)}:
            by_name.setdefault(key, []).append(file)
    used: set[Path] = set()
    found = []
    for image in images:
        name = image.relative_to(pictures).with_suffix('').as_posix()
        own = by_name.get(name, [])
        used.update(own)
        part = part_of_file(image, source) or part_of_file(image, pictures)
        found.append(
            Source(image, partial(read, image, own, objects_in), part)
        )
    for file in files:
        if file not in used:
            gone = partial(refuse, 'no picture has its name')
            found.append(Source(file, gone, None))
    return found


def read(image: Path, files: Sequence[Path], objects_in: ObjectsIn) -> Picture:
    """Read a picture's label image.

    Raises:
        InputError: There is none, there are two, or it does not fit.
    """
    if not files:
        raise InputError(
            'it has no label image; draw an image of zeros if it shows no '
            'object'
        )
    if len(files) > 1:
        names = ' and '.join(map(str, files))
        raise InputError(f'{names} are both label images of it; remove one')
    height, width = picture_size(image)
    numbers = load(files[0])
    if numbers.shape != (height, width):
        raise InputError(
            f'its label image {files[0]} has {numbers.shape[1]} x '
            f'{numbers.shape[0]} pixels, but the image has {width} x {height}'
        )
    objects = objects_in(numbers)
    notes = []
    if len(objects) <= FEW:
        parts = sum(len(parts_of(one.rle)) for one in objects)
        if objects and parts >= 2 * len(objects):
            notes.append(
                'label images with one number for several separate parts, '
                'which become one object; if the numbers are classes, convert '
                'with --semantic, and each part becomes an object'
            )
    return Picture(image, height, width, objects, notes)


def instances(numbers: np.ndarray, label: str) -> list[Object]:
    """The objects of a label image, each of which has its own number."""
    return [object_of(label, rle) for rle in run_lengths(numbers)]


def class_parts(
    numbers: np.ndarray, classes: Sequence[str] | None
) -> list[Object]:
    """The connected parts of a label image whose numbers are classes.

    Args:
        numbers: (H, W) int.
        classes: Names of the numbers from 1 on, or None for the numbers.

    Raises:
        InputError: A number has no name.
    """
    objects = []
    for rle in run_lengths(numbers):
        number = int(numbers[coco_mask.decode(rle).astype(bool)][0])
        if classes and not 1 <= number <= len(classes):
            raise InputError(
                f'its label image has the number {number}, but --classes '
                f'names those from 1 to {len(classes)}'
            )
        label = classes[number - 1] if classes else f'class {number}'
        objects += [object_of(label, part) for part in parts_of(rle)]
    return objects


def parts_of(rle: dict) -> list[dict]:
    """Run lengths of the connected parts of a mask."""
    count, parts = cv2.connectedComponents(coco_mask.decode(rle))
    return [encode(parts == n) for n in range(1, count)]


def load(file: Path) -> np.ndarray:
    """Load a label image, (H, W) of whole numbers.

    Raises:
        InputError: It is no label image.
    """
    if file.suffix.lower() in LOSSY:
        raise InputError(
            f'its mask image {file} has a lossy format, which changes the '
            'numbers; save it as PNG or TIFF'
        )
    try:
        if file.suffix.lower() == '.npy':
            numbers = np.load(file, allow_pickle=False)
        else:
            # Pillow keeps the numbers of a palette image; OpenCV does not
            with pillow_limit(None), Image.open(file) as opened:
                pages = getattr(opened, 'n_frames', 1)
                numbers = np.array(opened)
                palette = opened.getpalette() or []
                if opened.mode == 'P' and palette[765:768] == VOC_BORDER:
                    numbers[numbers == 255] = 0
    except Exception as error:  # libraries raise many types
        raise InputError(
            f'its mask image {file} cannot be read: {error}'
        ) from error
    if file.suffix.lower() != '.npy' and pages > 1:
        raise InputError(
            f'its mask image {file} is a stack of {pages} images; save the '
            'one that belongs to the picture'
        )
    if numbers.ndim == 3 and numbers.shape[2] in (3, 4):  # colours
        red, green, blue = np.moveaxis(numbers[..., :3].astype(np.int64), 2, 0)
        numbers = (red << 32) + (green << 16) + blue
    numbers = numbers.squeeze()
    if numbers.ndim != 2 or (numbers != np.trunc(numbers)).any():
        raise InputError(
            f'its mask image {file} holds {numbers.dtype} numbers of shape '
            f'{numbers.shape}; it needs one whole number for each pixel'
        )
    return numbers.astype(np.int64)


def run_lengths(numbers: np.ndarray) -> list[dict]:
    """Run lengths of each number but 0, in the order of the numbers.

    All objects are encoded in one pass over the image, as a mask for each
    would take a minute for a thousand cells.

    Args:
        numbers: (H, W) int.
    """
    height, width = numbers.shape
    column_wise = numbers.ravel('F')
    starts = changes(column_wise)
    ends = np.append(starts[1:], column_wise.size)
    values = column_wise[starts]
    order = np.argsort(values, kind='stable')
    found = []
    for runs in np.split(order, changes(values[order])[1:]):
        if values[runs[0]]:
            borders = np.stack([starts[runs], ends[runs]], axis=1).ravel()
            borders = [0, *borders.tolist(), column_wise.size]
            counts = np.diff(borders).tolist()
            plain = dict(size=[height, width], counts=counts)
            found.append(coco_mask.frPyObjects(plain, height, width))
    return found


def changes(values: np.ndarray) -> np.ndarray:
    """Indices at which a value differs from the one before, and 0."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1]))
