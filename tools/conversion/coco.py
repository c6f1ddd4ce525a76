"""COCO's JSONs as CVAT, Label Studio, Roboflow and others export them."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from projects.sprnet.errors import InputError

from .pictures import (
    Object,
    Picture,
    Source,
    images_below,
    object_of,
    part_of,
    picture_size,
    refuse,
    run_lengths,
)

BRUSH = (
    'brush masks of CVAT, which calls them crowds (iscrowd=1); they are '
    'objects now, as crowds train nothing'
)
NO_MASK = 'pictures with objects that have a box but no mask'


def find(
    source: Path, images: Path | None, jsons: dict[Path, dict]
) -> tuple[list[Source], list[str]]:
    """Find the pictures of COCO's JSONs.

    Args:
        source: The folder of the JSONs.
        images: The folder of the pictures, if it is another one.
        jsons: The JSONs' contents.

    Returns:
        The pictures, and the names of the classes by their ids.
    """
    files = index(images or source)
    sources: list[Source] = []
    classes: list[str] = []
    for file, data in jsons.items():
        inside = file.relative_to(source).with_suffix('')
        part = part_of(re.split(r'[/._ -]', inside.as_posix()))
        try:
            names = names_of(data)
            sources += pictures_of(file, data, names, files, part)
        except Exception as error:  # of any type, for a foreign JSON
            reason = f'it is not a COCO JSON: {error!r}'
            sources.append(Source(file, partial(refuse, reason), None))
            continue
        classes += [names[number] for number in sorted(names)]
    return sources, list(dict.fromkeys(classes))


def names_of(data: dict) -> dict[int, str]:
    """The names of a JSON's categories by their ids."""
    return {one['id']: str(one['name']) for one in data['categories']}


def pictures_of(
    file: Path,
    data: dict,
    names: dict[int, str],
    files: dict[str, list[Path]],
    part: str | None,
) -> list[Source]:
    """The pictures of a JSON; annotations of none are a source that refuses.

    Raises:
        Exception: Of any type, where it is no COCO JSON.
    """
    annotations = defaultdict(list)
    for one in data['annotations']:
        annotations[one['image_id']].append(one)
    count = Counter(image['id'] for image in data['images'])
    sources = []
    for image in data['images']:
        number = image['id']
        own = annotations.pop(number, [])
        here = partial(read, image, own, names, file, files)
        if count[number] > 1:
            here = partial(refuse, f'several images have its id {number}')
        sources.append(Source(file / str(image['file_name']), here, part))
    if annotations:
        total = sum(map(len, annotations.values()))
        numbers = ', '.join(map(str, annotations))
        reason = f'{total} annotations belong to no image: image_id {numbers}'
        sources.append(Source(file, partial(refuse, reason), None))
    return sources


def index(folder: Path) -> dict[str, list[Path]]:
    """The pictures in a folder by their names."""
    by_name = defaultdict(list)
    for path in images_below(folder):
        by_name[path.name].append(path)
    return by_name


def locate(name: str, json: Path, files: dict[str, list[Path]]) -> Path:
    """Find a picture, whose file_name may begin with folders of the machine
    that exported it.

    Raises:
        InputError: No picture matches, or several do.
    """
    parts = Path(name.replace('\\', '/')).parts
    beside = json.parent / Path(*parts)
    if beside in files.get(parts[-1], []):
        return beside

    def agreement(path: Path) -> tuple[int, int]:
        """Folders that agree with the name; folders shared with the JSON."""
        pairs = zip(reversed(path.parts), reversed(parts))
        same = next((i for i, (a, b) in enumerate(pairs) if a != b), 99)
        shared = zip(path.parts, json.parts)
        return same, sum(a == b for a, b in shared)

    found = sorted(files.get(parts[-1], []), key=agreement, reverse=True)
    if not found:
        raise InputError(
            f'no picture has the name {parts[-1]}; export the pictures as '
            'well, or name their folder with --images'
        )
    if len(found) > 1 and agreement(found[0]) == agreement(found[1]):
        raise InputError(f'{found[0]} and {found[1]} may both be it')
    return found[0]


def read(
    image: dict,
    annotations: Sequence[dict],
    names: dict[int, str],
    json: Path,
    files: dict[str, list[Path]],
) -> Picture:
    """Read a picture's annotations; masks become run lengths.

    Raises:
        InputError: The picture cannot be read, or does not match the JSON.
        KeyError, TypeError: The JSON is not COCO's.
    """
    path = locate(str(image['file_name']), json, files)
    height, width = picture_size(path)
    said = image.get('height'), image.get('width')
    if None not in said and said != (height, width):
        raise InputError(
            f'its JSON says {said[1]} x {said[0]} pixels, but {path} has '
            f'{width} x {height}'
        )
    objects, notes = [], []
    for one in annotations:
        if one['category_id'] not in names:
            raise InputError(
                f'annotation {one.get("id")} has category_id '
                f'{one["category_id"]}, which is no category of the JSON'
            )
        crowd = int(one.get('iscrowd') or 0)
        if crowd and 'occluded' in (one.get('attributes') or {}):
            crowd = 0
            notes.append(BRUSH)
        label = names[one['category_id']]
        segmentation = one.get('segmentation')
        if segmentation:
            try:
                rle = run_lengths(segmentation, height, width)
                objects.append(object_of(label, rle, crowd))
            except InputError as error:
                number = one.get('id')
                raise InputError(f'annotation {number}: {error}') from error
        else:
            objects.append(Object(label, None, list(one['bbox']), crowd))
            notes.append(NO_MASK)
    return Picture(path, height, width, objects, notes)
