"""Checks of a COCO JSON that need no image."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from os.path import abspath
from typing import Any, NamedTuple

from mmengine.fileio import get

from .faults import Fault, shown

MAX_SIDE = 10**6  # of an image, in pixels


class Split(NamedTuple):
    """A data set of a config, and how the config uses it."""

    ann_file: str
    folder: str  # of the images
    classes: Sequence[str]
    num_classes: dict[str, int]  # of the model's heads, by option
    masks: bool  # whether training loads them
    masks_optional: bool  # whether an object may have none
    metrics: Sequence[str]  # 'bbox', 'segm'; empty in training
    evaluated_files: Sequence[str]  # the evaluators' ann_file
    filter_cfg: dict[str, Any]  # empty in testing, which filters nothing
    loading: dict[str, Any]  # flag and backend of mmcv.imfrombytes
    max_pixels: int  # of an image


class Record(NamedTuple):
    """An image of a COCO JSON, and those of its annotations that are used."""

    image: dict
    annotations: list[dict]


def is_int(value: Any) -> bool:
    return type(value) is int  # excludes bool


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_size(value: Any) -> bool:
    return is_int(value) and 0 < value <= MAX_SIDE


def is_number(value: Any) -> bool:
    """Accept NaN and infinity too, which Python reads from JSON."""
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


# Fields that MMDetection needs, their checks, and what these accept
Fields = dict[str, tuple[Callable[[Any], bool], str]]
INTEGER = is_int, 'an integer'
TEXT = is_text, 'a string'
SIZE = is_size, f'an integer in 1..{MAX_SIDE}'
IMAGE: Fields = dict(id=INTEGER, file_name=TEXT, height=SIZE, width=SIZE)
ANNOTATION: Fields = dict(
    id=INTEGER,
    image_id=INTEGER,
    category_id=INTEGER,
    bbox=(is_box, 'four numbers'),
    area=(is_number, 'a number'),
    iscrowd=(lambda value: value in (None, 0, 1), '0 or 1'),
)
# Training accepts a missing iscrowd; COCO's evaluation stops.
EVALUATED_ANNOTATION: Fields = {
    **ANNOTATION,
    'iscrowd': (lambda value: value in (0, 1), '0 or 1'),
}
CATEGORY: Fields = dict(id=INTEGER, name=TEXT)


def read(file: str) -> tuple[dict, list[Fault]]:
    """Read a JSON; return {} and the fault if that fails."""
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
    """Check the contents of a JSON for consistency, and against the config.

    Returns:
        The well-formed images with the annotations that training or
        evaluation would use, and the faults.
    """
    file = split.ann_file
    annotation = EVALUATED_ANNOTATION if split.metrics else ANNOTATION
    fields = dict(images=IMAGE, annotations=annotation, categories=CATEGORY)
    faults = []
    for key in fields:
        if not isinstance(data.get(key), list):
            what = f'{key} is {shown(data.get(key))}, not a list'
            if key not in data:
                what = f'has no {key}'
            faults.append(Fault('broken JSON', what, file))
    if faults:
        return [], faults
    good = {}
    for key in fields:
        good[key], found = check_fields(data[key], fields[key], key, file)
        faults += found
    images, annotations, categories = good.values()
    faults += check_ids(images, 'image', file)
    faults += check_ids(annotations, 'annotation', file)
    faults += check_classes(categories, annotations, split)
    records, found = join_annotations(images, annotations, categories, split)
    return records, faults + found + check_use(records, split)


def check_fields(
    items: list, fields: Fields, key: str, file: str
) -> tuple[list[dict], list[Fault]]:
    """Check the fields of a list's items.

    Returns:
        The items without faults, and the faults of the others.
    """
    good, faults = [], []
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
    return good, faults


def check_ids(items: list[dict], name: str, file: str) -> list[Fault]:
    """Find ids that several images or annotations have."""
    counts = Counter(item['id'] for item in items)
    return [
        Fault(f'duplicate {name} id', f'{n} have this id', file, **{name: one})
        for one, n in counts.items()
        if n > 1
    ]


def check_classes(
    categories: list[dict], annotations: list[dict], split: Split
) -> list[Fault]:
    """Check that MMDetection's labels mean the config's classes.

    MMDetection numbers the categories whose names are classes of the config,
    in the order of the JSON.
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
            f'the JSON has no category {", ".join(map(shown, missing[:5]))}'
            f'{", ..." if missing[5:] else ""}; '
            f'its categories are metainfo=dict(classes={tuple(names)!r})'
        )
        faults.append(Fault('missing class', what, file))
    labelled = [name for name in names if name in classes]
    if not faults and labelled != classes:
        what = f'the order is metainfo=dict(classes={tuple(labelled)!r})'
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
            f'{option} is {number}, but metainfo has {len(classes)} classes',
            file,
        )
        for option, number in split.num_classes.items()
        if number != len(classes)
    ]
    return faults


def join_annotations(
    images: list[dict],
    annotations: list[dict],
    categories: list[dict],
    split: Split,
) -> tuple[list[Record], list[Fault]]:
    """Join annotations to their images; find those without one."""
    of_image: dict[int, list[dict]] = {image['id']: [] for image in images}
    names = {c['id']: c['name'] for c in categories}
    faults = []
    for one in annotations:
        fault = partial(
            Fault,
            file=split.ann_file,
            image=one['image_id'],
            annotation=one['id'],
        )
        if one['image_id'] not in of_image:
            what = 'there is no such image'
            faults.append(fault('annotation of no image', what))
        elif one['category_id'] not in names:
            what = f'there is no category {one["category_id"]}'
            faults.append(fault('annotation of no category', what))
        elif names[one['category_id']] in split.classes:
            of_image[one['image_id']].append(one)
    return [Record(image, of_image[image['id']]) for image in images], faults


def check_use(records: list[Record], split: Split) -> list[Fault]:
    """Check that enough data is left for training or evaluation."""
    file = split.ann_file
    least = split.filter_cfg.get('min_size', 0)
    small = [r for r in records if min_side(r.image) < least]
    faults = [
        Fault(
            'small image',
            f'{r.image["width"]} x {r.image["height"]} pixels',
            r.image['file_name'],
            r.image['id'],
        )
        for r in small
    ]
    kept = [r for r in records if min_side(r.image) >= least]
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


def min_side(image: dict) -> int:
    return min(image['width'], image['height'])
