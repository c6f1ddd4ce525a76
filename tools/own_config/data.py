"""The data set that a config is written for."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from common.anchor_fit import Objects, objects_of

from projects.sprnet.errors import InputError

SPLITS = ('train', 'val')
FIELDS = dict(
    images=('id', 'file_name', 'width', 'height'),
    annotations=('image_id', 'bbox'),
    categories=('id', 'name'),
)


class DataSet(NamedTuple):
    """Pictures of one's own, with COCO JSONs train.json and val.json."""

    root: Path
    classes: tuple[str, ...]
    folders: dict[str, str]  # of the images, below root, by split
    pictures: int  # for training, with at least one object
    most: int  # objects of a picture
    objects: Objects  # for training


def read_data(root: Path) -> DataSet:
    """Read the JSONs of a folder.

    Raises:
        InputError: A file is missing or is no COCO JSON, the two JSONs have
            different categories, or the images are not found.
    """
    data = {split: read_json(root / f'{split}.json') for split in SPLITS}
    names = {
        split: tuple(c['name'] for c in parts['categories'])
        for split, parts in data.items()
    }
    if names['train'] != names['val']:
        raise InputError(
            f'{root}: train.json has the categories {names["train"]}, '
            f'val.json {names["val"]}; give both the same, in one order'
        )
    images, annotations = (data['train'][k] for k in ('images', 'annotations'))
    objects = objects_of(images, annotations)
    if not len(objects.boxes):
        raise InputError(f'{root}/train.json has no object; annotate some')
    owners = {
        split: Counter(
            str(a['image_id'])
            for a in parts['annotations']
            if not a.get('iscrowd')
        )
        for split, parts in data.items()
    }
    return DataSet(
        root=root,
        classes=names['train'],
        folders={s: find_images(root, s, data[s]) for s in SPLITS},
        pictures=len(owners['train']),
        most=max(max(c.values(), default=0) for c in owners.values()),
        objects=objects,
    )


def read_json(file: Path) -> dict[str, Any]:
    """Read a COCO JSON.

    Raises:
        InputError: It is missing or lacks a field.
    """
    if not file.is_file():
        raise InputError(
            f'{file} is missing; name the folder that has train.json, '
            'val.json and the images, see configs/sprnet/OWN_DATA.md'
        )
    try:
        data = json.loads(file.read_bytes())
        for key, fields in FIELDS.items():
            for item in data[key]:
                [item[field] for field in fields]
        areas = [min(i['width'], i['height']) > 0 for i in data['images']]
        for annotation in data['annotations']:
            [float(v) for v in annotation['bbox']][3]
    except (ValueError, TypeError, LookupError) as error:
        raise InputError(
            f'{file} is not a COCO JSON ({type(error).__name__}: {error}); '
            f'write it again, with {", ".join(FIELDS)}'
        ) from error
    if not data['images'] or not data['categories']:
        raise InputError(f'{file} has no images or no categories; add them')
    if not all(areas):
        image = data['images'][areas.index(False)]
        raise InputError(
            f'{file}, image {image["id"]} has no area: width='
            f'{image["width"]}, height={image["height"]}; correct them'
        )
    return data


def find_images(root: Path, split: str, data: dict) -> str:
    """Find the folder below ``root`` that has the images of a JSON.

    Raises:
        InputError: None has the JSON's first image.
    """
    name = data['images'][0]['file_name']
    folders = (f'{split}/', f'{split}2017/', 'images/', '')
    for folder in folders:
        if os.path.isfile(root / folder / name):
            return folder
    raise InputError(
        f'{root}/{split}.json: its first image {name!r} is in none of '
        f'{", ".join(repr(str(root / folder)) for folder in folders)}; move '
        'the images there, or correct file_name'
    )
