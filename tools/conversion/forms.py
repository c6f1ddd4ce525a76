"""Recognise the form in which somebody's pictures and masks are."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from common.files import files_below

from projects.sprnet.errors import InputError

from . import coco, label_images, labelme, mask_files
from .pictures import OURS, Source

ONE_CLASS = 'object'  # of forms that name no classes
FORMS = (
    'pictures in images/ and label images, in which each object has its own '
    'number, in labels/ or masks/ (or elsewhere: name the label images, and '
    'the pictures with --images); ID/images/ID.png with a mask of each object '
    "in ID/masks/; labelme's JSONs; a COCO JSON with its pictures"
)


class Found(NamedTuple):
    """What a folder holds."""

    form: str
    sources: list[Source]
    classes: list[str]  # in their order, as far as the form has one


def find(
    source: Path,
    images: Path | None,
    classes: Sequence[str] | None,
    semantic: bool = False,
) -> Found:
    """Find the pictures in a folder, or those of a COCO JSON.

    Args:
        source: Absolute, as ``images`` is.
        images: The folder of the pictures, if it is another one.
        classes: The user's, in their order.
        semantic: The numbers of label images are classes.

    Raises:
        InputError: The folder has no form that is known, or ``classes`` has
            several names for a form of one class.
    """
    folder = source if source.is_dir() else source.parent
    if semantic:
        read = partial(label_images.class_parts, classes=classes)
        if source.is_dir() and (s := label_images.find(source, images, read)):
            return Found('label images of classes', s, [])
        raise InputError(f'--semantic: {source} holds no label images')
    files = [source]
    if source.is_dir():
        files = files_below(source, ('.json',), OURS)
    form, jsons = kind_of(files)
    if form == 'COCO':
        return Found(form, *coco.find(folder, images, jsons))
    if form == 'labelme':
        return Found(form, labelme.find(folder, images, files), [])
    if source.is_dir():
        if classes and len(classes) > 1:
            raise InputError(
                f'--classes {" ".join(classes)}: masks without labels have '
                'one class; give one name'
            )
        label = classes[0] if classes else ONE_CLASS
        if sources := mask_files.find(source, images, label):
            return Found('a mask for each object', sources, [label])
        read = partial(label_images.instances, label=label)
        if sources := label_images.find(source, images, read):
            return Found('label images', sources, [label])
    raise InputError(f'{source} holds none of these: {FORMS}')


def kind_of(files: Sequence[Path]) -> tuple[str | None, dict[Path, dict]]:
    """Tell whose JSONs these are; return the contents of COCO's as well."""
    jsons = {}
    for file in files:
        try:
            data = json.loads(file.read_text(encoding='utf-8-sig'))
        except ValueError:
            continue
        if not isinstance(data, dict):
            continue
        if 'shapes' in data and 'imagePath' in data and not jsons:
            return 'labelme', {}
        if isinstance(data.get('images'), list) and 'annotations' in data:
            jsons[file] = data
    return ('COCO' if jsons else None), jsons
