"""Convert labelme drawings to a COCO JSON.

    python tools/labelme_to_coco.py data/cells/train data/cells/train.json \\
        --classes healthy infected

reads the JSONs that labelme wrote into FOLDER and its subfolders. Images are
named by their paths relative to FOLDER. Shapes become objects:

    polygon, oriented rectangle   a polygon
    rectangle                     its four corners
    circle                        a polygon of 64 corners
    shapes with one label and     one object of several polygons, for example
    one group id                  an object that something else cuts in two

COCO's polygons have no holes: the pixels inside any polygon belong to its
object. A JSON without shapes becomes an image without objects, which trains
the background. Points and lines have no area. Images with such shapes, and
those that cannot be read, are left out and listed at the end.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.cli import existing, parser_of

import mmcv
import numpy as np
from pycocotools import mask as coco_mask
from rich.progress import track

from projects.sprnet.runtime.errors import InputError

IGNORED = '__ignore__'  # labelme's label of shapes to leave out
CORNERS = 64  # of a circle; the polygon has 99.8% of its area
# The last is X-AnyLabeling's name
POLYGONS = ('polygon', 'oriented_rectangle', 'rotation')


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('folder', type=existing)
    parser.add_argument('out', type=Path, help='COCO JSON to write')
    parser.add_argument(
        '--classes',
        nargs='+',
        help='labels in the order of the category ids 1, 2, ... (all labels, '
        'sorted)',
    )
    return parser.parse_args()


def polygon(shape: dict) -> np.ndarray:
    """Corners (n, 2) of a labelme shape, as (x, y) in pixels.

    Raises:
        InputError: The shape has no area.
    """
    points = np.array(shape['points'], float).reshape(-1, 2)
    kind = shape.get('shape_type') or 'polygon'  # old versions write none
    if kind == 'rectangle':
        (left, top), (right, bottom) = points.min(0), points.max(0)
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    elif kind == 'circle':
        centre, edge = points
        angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = centre + np.linalg.norm(edge - centre) * unit
    elif kind == 'mask':
        raise InputError('a mask of an AI tool is not read; use AI-Polygon')
    elif kind not in POLYGONS:
        raise InputError(f'a {kind} does not outline an object')
    if len(points) < 3:
        raise InputError(f'a polygon of {len(points)} points has no area')
    return np.asarray(points)


def annotations_of(shapes: Sequence[dict], height: int, width: int) -> list:
    """COCO annotations of an image's shapes; category_id is still the label.

    Raises:
        InputError: A shape has no area, or an object covers no pixel of the
            image.
    """
    objects: dict[tuple, list[np.ndarray]] = {}
    for i, shape in enumerate(shapes):
        group = shape.get('group_id')
        ungrouped = i if group is None else None
        key = str(shape['label']), group, ungrouped
        objects.setdefault(key, []).append(polygon(shape))
    annotations = []
    for (label, _, _), polygons in objects.items():
        segments = [corners.ravel().tolist() for corners in polygons]
        rle = coco_mask.merge(coco_mask.frPyObjects(segments, height, width))
        area = int(coco_mask.area(rle))
        if not area:
            raise InputError(
                f'an object {label!r} covers no pixel of the image'
            )
        corners = np.concatenate(polygons).clip(0, (width, height))
        (left, top), (right, bottom) = corners.min(0), corners.max(0)
        annotations.append(
            dict(
                category_id=label,
                segmentation=segments,
                bbox=[left, top, right - left, bottom - top],
                area=area,
                iscrowd=0,
            )
        )
    return annotations


def read(file: Path, folder: Path) -> tuple[dict, list[dict]]:
    """COCO's entry of a labelme JSON's image, and its annotations.

    Raises:
        InputError: The image cannot be read, or the JSON does not match it.
        KeyError, TypeError: labelme did not write the JSON.
    """
    try:
        text = file.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise InputError(
            "it is not in labelme's encoding, UTF-8; convert it"
        ) from error
    data = json.loads(text)
    # labelme on Windows writes backslashes. Symbolic links are not followed.
    name = data['imagePath'].replace('\\', '/')
    path = Path(os.path.abspath(file.parent / name))
    if not path.is_file() or not path.stat().st_size:
        raise InputError(f'its image {path} is missing or empty')
    # MMDetection's loader, which rotates by EXIF as labelme does
    picture = mmcv.imread(path)
    if picture is None:
        raise InputError(f'its image {path} cannot be read')
    if not path.is_relative_to(folder):
        raise InputError(
            f'its image {path} is outside of {folder}; name a folder that '
            'holds both'
        )
    shapes = [s for s in data['shapes'] if str(s['label']) != IGNORED]
    height, width = picture.shape[:2]
    labelled = data.get('imageHeight'), data.get('imageWidth')
    if labelled not in ((height, width), (None, None)):
        raise InputError(
            f'it was drawn on {labelled[1]} x {labelled[0]} pixels, but its '
            f'image has {width} x {height}'
        )
    name = path.relative_to(folder).as_posix()
    image = dict(file_name=name, height=height, width=width)
    return image, annotations_of(shapes, height, width)


def near_doubles(labels: Iterable[str]) -> list[str]:
    """Find labels that differ by case or spaces only; each group as text."""
    groups: dict[str, list[str]] = {}
    for label in sorted(labels):
        groups.setdefault(' '.join(label.split()).lower(), []).append(label)
    return [
        ', '.join(map(repr, group))
        for group in groups.values()
        if len(group) > 1
    ]


def coco_of(
    drawings: Sequence[tuple[dict, list[dict]]], classes: Sequence[str]
) -> dict:
    """A COCO data set of images and their annotations, numbered from 1."""
    ids = {name: n for n, name in enumerate(classes, start=1)}
    images, annotations = [], []
    for number, (image, objects) in enumerate(drawings, start=1):
        images.append(dict(id=number, **image))
        for one in objects:
            category = ids[one['category_id']]
            one = dict(one, image_id=number, category_id=category)
            annotations.append(dict(id=len(annotations) + 1, **one))
    return dict(
        images=images,
        annotations=annotations,
        categories=[
            dict(id=n, name=name, supercategory=name)
            for name, n in ids.items()
        ],
    )


def main() -> None:
    args = parse_args()

    folder, out = (Path(os.path.abspath(p)) for p in (args.folder, args.out))
    files = [f for f in sorted(folder.rglob('*.json')) if f != out]
    if not files:
        sys.exit(f'labelme_to_coco.py: {args.folder} contains no JSON')
    drawings, left_out, owners = [], [], {}
    counts: Counter[str] = Counter()
    for file in track(files, 'labelme'):
        try:
            image, annotations = read(file, folder)
            other = owners.setdefault(image['file_name'], file)
            if other is not file:
                raise InputError(f'its image has another JSON, {other}')
            labels = {one['category_id'] for one in annotations}
            unknown = labels.difference(args.classes or labels)
            if unknown:
                raise InputError(
                    f'labels {sorted(unknown)} are not in --classes'
                )
        except InputError as error:
            left_out.append(f'{file}: {error}')
            continue
        except Exception as error:  # of any type, for a foreign JSON
            left_out.append(f'{file}: it is not a labelme JSON: {error!r}')
            continue
        drawings.append((image, annotations))
        counts.update(one['category_id'] for one in annotations)
    classes = args.classes or sorted(counts)
    coco = coco_of(drawings, classes)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(coco))
    print(
        f'{args.out}: {len(coco["images"])} images, '
        f'{len(coco["annotations"])} objects'
    )
    for number, name in enumerate(classes, start=1):
        print(f'  class {number}: {name!r}, {counts[name]} objects')
    for group in near_doubles(counts):
        print(f'  {group} may mean the same: rename them in labelme')
    if left_out:
        sys.exit('\n'.join(['labelme_to_coco.py: left out:', *left_out]))


if __name__ == '__main__':
    main()
