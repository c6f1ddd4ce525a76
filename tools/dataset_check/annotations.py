"""Checks of a COCO JSON that need no image."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from mmengine.fileio import get

from .contents import check_copies, check_use
from .faults import Fault, shown
from .split import Record, Split

MAX_SIDE = 10**6  # of an image, in pixels


def is_int(value: Any) -> bool:
    return type(value) is int  # excludes bool


def is_id(value: Any) -> bool:
    """Accept any id that MMDetection can look up."""
    return type(value) in (int, float, str) and value == value


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
ID = is_id, 'an integer'
TEXT = is_text, 'a string'
SIZE = is_size, f'an integer in 1..{MAX_SIDE}'
IMAGE: Fields = dict(id=ID, file_name=TEXT, height=SIZE, width=SIZE)
ANNOTATION: Fields = dict(
    id=ID,
    image_id=ID,
    category_id=ID,
    bbox=(is_box, 'four numbers'),
    area=(is_number, 'a number'),
    iscrowd=(lambda value: value in (None, 0, 1), '0 or 1'),
)
# Training accepts a missing iscrowd; COCO's evaluation stops if its metric
# does not complete the annotations.
EVALUATED_ANNOTATION: Fields = {
    **ANNOTATION,
    'iscrowd': (lambda value: value in (0, 1), '0 or 1'),
}
CATEGORY: Fields = dict(id=ID, name=TEXT)


def read(file: str) -> tuple[dict, list[Fault]]:
    """Read a JSON; return {} and the fault if that fails."""
    try:
        # As MMDetection reads it: a byte order mark is no JSON.
        data = json.loads(get(file).decode())
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
    if not split.training and not split.metrics:
        data = {'annotations': [], **data}  # only predictions are wanted
    stock = split.metrics and not split.completes
    annotation = EVALUATED_ANNOTATION if stock else ANNOTATION
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
    if stock:
        faults += check_numbers(annotations, file)
    faults += check_ids(images, 'image', file)
    faults += check_ids(annotations, 'annotation', file)
    faults += check_copies(images, annotations, file)
    kinds = {
        type(one['id']).__name__ for group in good.values() for one in group
    }
    if kinds - {'int'}:
        what = f'some ids are of the type {", ".join(sorted(kinds - {"int"}))}'
        faults.append(Fault('ids of another type', what, file))
    faults += check_classes(categories, annotations, split)
    records, found = join_annotations(images, annotations, categories, split)
    faults += found
    if all(len(good[key]) == len(data[key]) for key in fields):
        # Else what is missing may be what was left out above.
        names = {c['id']: c['name'] for c in categories}
        faults += check_use(records, names, split)
    return records, faults


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


def check_numbers(annotations: list[dict], file: str) -> list[Fault]:
    """Find annotation ids that COCO's evaluation takes for no match."""
    return [
        Fault('annotation id', f'it is {one["id"]!r}', file, one['image_id'])
        for one in annotations
        if not is_number(one['id']) or not one['id']
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
            what = (
                f'there is no such image{similar(one["image_id"], of_image)}'
            )
            faults.append(fault('annotation of no image', what))
        elif one['category_id'] not in names:
            number = one['category_id']
            what = f'there is no category {number!r}{similar(number, names)}'
            faults.append(fault('annotation of no category', what))
        elif names[one['category_id']] in split.classes:
            of_image[one['image_id']].append(one)
    return [Record(image, of_image[image['id']]) for image in images], faults


def similar(one: Any, ids: Iterable) -> str:
    """Name the id that equals another as text; '' if there is none."""
    twin = next((i for i in ids if str(i) == str(one) and i != one), None)
    return '' if twin is None else f', but {twin!r}'
