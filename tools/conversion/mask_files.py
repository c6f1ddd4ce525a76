"""A mask picture for each object, as in the 2018 Data Science Bowl:
ID/images/ID.png and ID/masks/*.png."""

from functools import partial
from pathlib import Path

from common.files import folders_below

from projects.sprnet.errors import InputError

from .label_images import load
from .pictures import (
    OURS,
    Picture,
    Source,
    encode,
    images_below,
    object_of,
    part_of,
    part_of_file,
    picture_size,
)


def find(source: Path, images: Path | None, label: str) -> list[Source]:
    """Find the folders of pictures that have masks, unless the pictures are
    elsewhere."""
    if images:
        return []
    folders = sorted(
        f.parent
        for f, _ in folders_below(source, OURS)
        if f.name == 'images'
        and f.parent not in (source, source.parent)
        and not part_of([f.parent.name])
    )
    if not any((folder / 'masks').is_dir() for folder in folders):
        return []
    return [
        Source(f, partial(read, f, label), part_of_file(f, source))
        for f in folders
    ]


def read(folder: Path, label: str) -> Picture:
    """Read a picture's masks; every pixel of a mask that is not 0 belongs to
    the object.

    Raises:
        InputError: The folder has no picture or several, no masks, or one that
            does not fit.
    """
    images = images_below(folder / 'images')
    if len(images) != 1:
        raise InputError(f'images/ holds {len(images)} images instead of one')
    if not (folder / 'masks').is_dir():
        raise InputError('it has no folder masks/')
    height, width = picture_size(images[0])
    objects, notes = [], []
    for file in images_below(folder / 'masks'):
        mask = load(file) != 0
        if mask.shape != (height, width):
            raise InputError(
                f'its mask {file} has {mask.shape[1]} x {mask.shape[0]} '
                f'pixels, but the image has {width} x {height}'
            )
        if mask.any():
            objects.append(object_of(label, encode(mask)))
        else:
            notes.append('masks without a pixel, which are no objects')
    return Picture(images[0], height, width, objects, notes)
