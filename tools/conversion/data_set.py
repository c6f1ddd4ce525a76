"""Write pictures as the data set that the configs expect."""

import hashlib
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.files import COPIES, mark

from pycocotools import mask as coco_mask

from projects.sprnet.errors import InputError

from .pictures import Picture

KEPT = ('train', 'val', 'test')  # parts, the most wanted first


def split(
    pictures: Sequence[tuple[Picture, str | None]], share: float
) -> dict[str, list[Picture]]:
    """Split pictures into train and val.

    Args:
        pictures: With the part that their folders name.
        share: Of the pictures that become val, unless a part does.

    Pictures without a part belong to train. Those of test are not used, unless
    there are no others.

    Raises:
        InputError: There are too few pictures.
    """
    parts = defaultdict(list)
    for picture, part in pictures:
        parts[part or 'train'].append(picture)
    if {'train', 'val'} <= parts.keys():
        return {name: parts[name] for name in ('train', 'val')}
    whole = next(parts[name] for name in KEPT if name in parts)
    # In an order that a picture more or less does not change
    shuffled = sorted(
        whole,
        key=lambda p: hashlib.sha256(p.path.name.encode()).digest(),
    )
    count = max(round(share * len(shuffled)), 1) if share else 0
    if count >= len(shuffled):
        raise InputError(
            f'{len(shuffled)} pictures cannot be split with --val {share}; '
            'add pictures or choose another share'
        )
    found = dict(train=shuffled[count:], val=shuffled[:count])
    return {
        name: sorted(part, key=lambda p: p.path)
        for name, part in found.items()
        if part
    }


def file_names(pictures: Iterable[Picture], source: Path) -> dict[Path, str]:
    """A name for each picture, with its folders where others have it too."""
    paths = [picture.path for picture in pictures]
    count = Counter(path.name.lower() for path in paths)

    def name(path: Path) -> str:
        if count[path.name.lower()] == 1:
            return path.name
        below = source if path.is_relative_to(source) else path.anchor
        return path.relative_to(below).as_posix()

    return {path: name(path) for path in paths}


def coco_of(
    pictures: Sequence[Picture], classes: Sequence[str], names: dict[Path, str]
) -> dict:
    """A COCO data set of pictures and their objects, numbered from 1."""
    ids = {name: n for n, name in enumerate(classes, start=1)}
    images, annotations = [], []
    for number, picture in enumerate(pictures, start=1):
        size = dict(height=picture.height, width=picture.width)
        images.append(dict(id=number, file_name=names[picture.path], **size))
        for one in picture.objects:
            annotation = dict(
                id=len(annotations) + 1,
                image_id=number,
                category_id=ids[one.label],
                bbox=one.bbox,
                area=one.bbox[2] * one.bbox[3],
                iscrowd=one.iscrowd,
            )
            if one.rle:
                counts = one.rle['counts']
                text = counts if isinstance(counts, str) else counts.decode()
                annotation.update(
                    area=int(coco_mask.area(one.rle)),
                    segmentation=dict(size=one.rle['size'], counts=text),
                )
            annotations.append(annotation)
    categories = [
        dict(id=number, name=name, supercategory=name)
        for name, number in ids.items()
    ]
    return dict(images=images, annotations=annotations, categories=categories)


def write(
    parts: dict[str, list[Picture]],
    classes: Sequence[str],
    source: Path,
    out: Path,
) -> None:
    """Write each part's JSON, and copy its pictures into a folder beside."""
    names = file_names((p for part in parts.values() for p in part), source)
    mark(out, COPIES)
    for part, pictures in parts.items():
        for picture in pictures:
            copy = out / part / names[picture.path]
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture.path, copy)
        coco = coco_of(pictures, classes, names)
        (out / f'{part}.json').write_text(json.dumps(coco))
