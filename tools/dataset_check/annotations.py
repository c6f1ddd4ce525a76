"""Faults of a COCO JSON that can be seen without its images."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from os.path import abspath
from typing import Any, NamedTuple

from mmengine.fileio import get

from .faults import Fault, shown

MAX_SIDE = 10**6  # of an image, in pixels


class Split(NamedTuple):
    """A data set of a config, and what the config does with it."""

    ann_file: str
    folder: str  # of the images
    classes: Sequence[str]
    num_classes: dict[str, int]  # of the model's heads, by option
    masks: bool  # whether they are loaded
    masks_optional: bool  # an object may be without one
    metrics: Sequence[str]  # 'bbox', 'segm'; none if it is not evaluated
    evaluated_files: Sequence[str]  # which the metrics compare with
    filter_cfg: dict[str, Any]  # as it applies; empty in testing
    loading: dict[str, Any]  # flag and backend of mmcv.imfrombytes
    max_pixels: int  # of an image


class Record(NamedTuple):
    """An image of a COCO JSON and the annotations that are used of it."""

    image: dict
    annotations: list[dict]


def is_id(value: Any) -> bool:
    return type(value) is int


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_size(value: Any) -> bool:
    return type(value) is int and 0 < value <= MAX_SIDE


def is_number(value: Any) -> bool:
    """Also NaN and infinity, which Python reads from JSON."""
    if type(value) not in (int, float):
        return False
    try:
        float(value)
    except OverflowError:
        return False
    return True


def is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(map(is_number, value))
    )


IMAGE = dict(
    id=(is_id, 'an integer'),
    file_name=(is_text, 'a text'),
    height=(is_size, f'an integer in 1..{MAX_SIDE}'),
    width=(is_size, f'an integer in 1..{MAX_SIDE}'),
)
ANNOTATION = dict(
    id=(is_id, 'an integer'),
    image_id=(is_id, 'an integer'),
    category_id=(is_id, 'an integer'),
    bbox=(is_box, 'four numbers'),
    area=(is_number, 'a number'),
)
# Training does without; COCO's evaluation stops.
CROWD = dict(iscrowd=(lambda value: value in (None, 0, 1), '0 or 1'))
EVALUATED_CROWD = dict(iscrowd=(lambda value: value in (0, 1), '0 or 1'))
CATEGORY = dict(id=(is_id, 'an integer'), name=(is_text, 'a text'))


def read(file: str) -> tuple[dict, list[Fault]]:
    """The JSON, or {} and the fault that it has."""
    try:
        data = json.loads(get(file))
    except OSError as error:
        why = f'cannot be read: {error}'
    except (ValueError, RecursionError) as error:
        why = f'is not JSON: {error}'
    else:
        if isinstance(data, dict):
            return data, []
        why = f'holds {shown(data)}, not an object'
    return {}, [Fault('broken JSON', why, file)]


def check_json(data: dict, split: Split) -> tuple[list[Record], list[Fault]]:
    """Check the contents of a JSON against themselves and the config.

    Returns:
        The images that are fit to be looked at, with the annotations that
        training or evaluation would use, and the faults of all the others.
    """
    file = split.ann_file
    lists, faults = {}, []
    for key in ('images', 'annotations', 'categories'):
        lists[key] = data.get(key)
        if not isinstance(lists[key], list):
            what = f'{key} is {shown(lists[key])}, not a list'
            if key not in data:
                what = f'has no {key}'
            faults.append(Fault('broken JSON', what, file))
    if faults:
        return [], faults
    crowd = EVALUATED_CROWD if split.metrics else CROWD
    images = _well_formed(lists['images'], IMAGE, 'images', file, faults)
    annotations = _well_formed(
        lists['annotations'],
        {**ANNOTATION, **crowd},
        'annotations',
        file,
        faults,
    )
    categories = _well_formed(
        lists['categories'], CATEGORY, 'categories', file, faults
    )
    faults += _duplicates(images, 'image', file)
    faults += _duplicates(annotations, 'annotation', file)
    faults += check_classes(categories, annotations, split)
    records = _records(images, annotations, categories, split, faults)
    faults += _check_size(records, split)
    return records, faults


def _well_formed(
    items: list, fields: dict, key: str, file: str, faults: list[Fault]
) -> list[dict]:
    """The items whose fields are what they must be; faults of the others."""
    good = []
    for number, item in enumerate(items):
        place = f'{key}[{number}]'
        if not isinstance(item, dict):
            what = f'{place} is {shown(item)}, not an object'
            faults.append(Fault('wrong field', what, file))
            continue
        wrong = [n for n, (fits, _) in fields.items() if not fits(item.get(n))]
        for name in wrong:
            value = shown(item[name]) if name in item else 'missing'
            what = f'{place}.{name} is {value}, not {fields[name][1]}'
            ids = dict(image=item.get('id' if key == 'images' else 'image_id'))
            if key == 'annotations':
                ids['annotation'] = item.get('id')
            faults.append(Fault('wrong field', what, file, **ids))
        if not wrong:
            good.append(item)
    return good


def _duplicates(items: list[dict], name: str, file: str) -> list[Fault]:
    counts = Counter(item['id'] for item in items)
    return [
        Fault(f'duplicate {name} id', f'{n} have this id', file, **{name: one})
        for one, n in counts.items()
        if n > 1
    ]


def check_classes(
    categories: list[dict], annotations: list[dict], split: Split
) -> list[Fault]:
    """Whether MMDetection's labels are the config's classes.

    It numbers those categories of the JSON whose names are among the
    config's classes, in the JSON's order.
    """
    file, classes = split.ann_file, list(split.classes)
    names = [c['name'] for c in categories]
    faults = [
        Fault('duplicate category', f'{n} have the {key} {shown(value)}', file)
        for key in ('id', 'name')
        for value, n in Counter(c[key] for c in categories).items()
        if n > 1
    ]
    missing = [name for name in classes if name not in names]
    if missing:
        what = (
            f'it has no category {", ".join(map(shown, missing[:5]))}'
            f'{", ..." if missing[5:] else ""}; '
            f'its own are metainfo=dict(classes={tuple(names)!r})'
        )
        faults.append(Fault('missing class', what, file))
    found = [name for name in names if name in classes]
    if not faults and found != classes:
        what = f'its own is metainfo=dict(classes={tuple(found)!r})'
        faults.append(Fault('order of classes', what, file))
    objects = Counter(a['category_id'] for a in annotations)
    faults += [
        Fault(
            'category of no class',
            f'{shown(c["name"])} with {objects[c["id"]]} objects',
            file,
        )
        for c in categories
        if c['name'] not in classes
    ]
    faults += [
        Fault(
            'num_classes',
            f'{option} is {number}, metainfo.classes are {len(classes)}',
            file,
        )
        for option, number in split.num_classes.items()
        if number != len(classes)
    ]
    return faults


def _records(
    images: list[dict],
    annotations: list[dict],
    categories: list[dict],
    split: Split,
    faults: list[Fault],
) -> list[Record]:
    """Join annotations to their images; faults of those that have none."""
    of_image: dict[int, list[dict]] = defaultdict(list)
    known = {image['id'] for image in images}
    names = {c['id']: c['name'] for c in categories}
    for one in annotations:
        ids = one['image_id'], one['id']
        if one['image_id'] not in known:
            what = 'there is no such image'
            faults.append(
                Fault('annotation of no image', what, split.ann_file, *ids)
            )
        elif one['category_id'] not in names:
            what = f'there is no category {one["category_id"]}'
            faults.append(
                Fault('annotation of no category', what, split.ann_file, *ids)
            )
        elif names[one['category_id']] in split.classes:
            of_image[one['image_id']].append(one)
    return [Record(image, of_image[image['id']]) for image in images]


def _check_size(records: list[Record], split: Split) -> list[Fault]:
    """Whether there is enough left to train on, or to evaluate."""
    file = split.ann_file
    least = split.filter_cfg.get('min_size', 0)
    small = [r for r in records if least > _side(r.image)]
    faults = [
        Fault(
            'small image',
            f'{r.image["width"]} x {r.image["height"]} pixels',
            r.image['file_name'],
            r.image['id'],
        )
        for r in small
    ]
    kept = [r for r in records if least <= _side(r.image)]
    if split.filter_cfg.get('filter_empty_gt'):
        kept = [r for r in kept if r.annotations]
    if not kept:
        what = f'none of its {len(records)} images can be used'
        faults.append(Fault('no usable image', what, file))
    elif split.metrics and not any(r.annotations for r in kept):
        what = f'its {len(records)} images have no annotation'
        faults.append(Fault('nothing to evaluate', what, file))
    faults += [
        Fault('other evaluation file', f'the evaluator reads {other}', file)
        for other in split.evaluated_files
        if abspath(other) != abspath(file)
    ]
    return faults


def _side(image: dict) -> int:
    return min(image['width'], image['height'])
