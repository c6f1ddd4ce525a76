"""Checks of what a JSON contains: copies, and whether enough is left."""

from collections import Counter
from os.path import abspath, join
from typing import Any

from .faults import Fault, shown
from .split import Record, Split


def check_copies(
    images: list[dict], annotations: list[dict], file: str
) -> list[Fault]:
    """Find images and objects that a merged JSON lists twice."""
    names: dict[str, list] = {}
    for image in images:
        names.setdefault(image['file_name'], []).append(image['id'])
    faults = [
        Fault('image listed twice', f'{name} has the ids {ids}', file, ids[1])
        for name, ids in names.items()
        if len(set(map(str, ids))) > 1
    ]
    seen = set()
    for one in annotations:
        key = repr(
            [one.get(k) for k in ('image_id', 'category_id', 'bbox')]
            + [one.get('segmentation')]
        )
        if key in seen:
            what = f'its bbox {one["bbox"]} and mask stand there before'
            faults.append(
                Fault(
                    'object listed twice',
                    what,
                    file,
                    one['image_id'],
                    one['id'],
                )
            )
        seen.add(key)
    return faults


def is_usable(annotation: dict, image: dict) -> bool:
    """Tell whether MMDetection trains an object, and COCO expects it."""
    x, y, w, h = annotation['bbox']
    inside_w = min(x + w, image['width']) - max(x, 0)
    inside_h = min(y + h, image['height']) - max(y, 0)
    return (
        not annotation.get('iscrowd')
        and not annotation.get('ignore')
        and annotation['area'] > 0
        and min(w, h) >= 1
        and min(inside_w, inside_h) > 0
    )


def check_usable(
    records: list[Record], names: dict[Any, str], split: Split
) -> list[Fault]:
    """Check which objects can be learnt or measured; see check_use."""
    file, faults = split.ann_file, []
    per_class: Counter[str] = Counter()
    masks = 0
    for image, annotations in records:
        usable = [one for one in annotations if is_usable(one, image)]
        here = Counter(names[one['category_id']] for one in usable)
        per_class += here
        if split.metrics and (what := excess(here, split)):
            place = image['file_name'], image['id']
            faults.append(Fault('more objects than detections', what, *place))
        masks += sum(bool(one.get('segmentation')) for one in usable)
    unused = [name for name in split.classes if not per_class[name]]
    masks_used = split.masks if split.training else 'segm' in split.metrics
    total = sum(len(annotations) for _, annotations in records)
    what = (
        f'of {total} objects none is left without crowds, empty boxes and '
        'areas of 0'
    )
    if per_class and masks_used and not masks:
        what = f'none of {total} objects has a segmentation'
        per_class.clear()
    if split.training and not per_class:
        faults.append(Fault('nothing to learn', what, file))
    elif split.metrics and not per_class:
        faults.append(Fault('nothing to evaluate', what, file))
    elif unused and (split.training or split.metrics):
        more = ', ...' if unused[5:] else ''
        what = ', '.join(map(shown, unused[:5])) + more
        faults.append(Fault('class without objects', what, file))
    return faults


def excess(counts: Counter[str], split: Split) -> str:
    """Say which objects of an image a test cannot count; '' without any."""
    if counts.total() > split.max_detections:
        return (
            f'{counts.total()} objects, the model detects at most '
            f'{split.max_detections} (test_cfg.max_per_img)'
        )
    ((name, most),) = counts.most_common(1) or [('', 0)]
    if most > split.max_counted:
        return (
            f'{most} objects of {shown(name)}, the metrics count '
            f'{split.max_counted} detections of a class (proposal_nums)'
        )
    return ''


def check_use(
    records: list[Record], names: dict[Any, str], split: Split
) -> list[Fault]:
    """Check that enough data is left for training or evaluation.

    Args:
        records: The images with their annotations.
        names: Names of the categories, by id.
        split: How the config uses them.
    """
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
        return faults
    faults += check_usable(kept, names, split)
    faults += [
        Fault('other evaluation file', f'the evaluator reads {other}', file)
        for other in split.evaluated_files
        if abspath(other) != abspath(file)
    ]
    return faults


def min_side(image: dict) -> int:
    return min(image['width'], image['height'])


def identities(records: list[Record], split: Split) -> list[set[str]]:
    """What tells each image from others: its path, its name with its boxes."""
    found = []
    for image, annotations in records:
        name = image['file_name']
        keys = {abspath(join(split.folder, name))}
        if annotations:
            keys.add(repr([name, *(one['bbox'] for one in annotations)]))
        found.append(keys)
    return found


def check_learnt(
    records: list[Record], split: Split, learnt: set[str]
) -> list[Fault]:
    """Find images that are evaluated and, in ``learnt``, trained too."""
    return [
        Fault(
            'image of the training set',
            'the training set has it too',
            image['file_name'],
            image['id'],
        )
        for (image, _), keys in zip(records, identities(records, split))
        if keys & learnt
    ]
