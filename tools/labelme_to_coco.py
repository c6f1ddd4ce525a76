"""Make a COCO JSON of what was drawn in labelme.

    python tools/labelme_to_coco.py data/cells/train data/cells/train.json \\
        --classes healthy infected

reads the JSONs that labelme wrote into FOLDER and its folders, and writes
their images, under their paths below FOLDER, and their objects:

    polygon, oriented rectangle   a polygon
    rectangle                     its four corners
    circle                        a polygon of 64 corners
    shapes of one label and       one object of several polygons, such as one
    one group id                  that something hides the middle of

COCO's polygons have no holes: what lies between two of one object's polygons
belongs to neither, what lies within both belongs to the object. A JSON without
shapes is an image without objects, to learn the background from. Points and
lines have no area; they and all that cannot be read are named at the end, and
left out with the whole of their image.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
from common.cli import existing, parser_of
from pycocotools import mask as coco_mask
from rich.progress import track

CORNERS = 64  # of a circle; the polygon has 99.8% of its area
POLYGONS = ('polygon', 'oriented_rectangle')


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('folder', type=existing)
    parser.add_argument('out', type=Path, help='COCO JSON to write')
    parser.add_argument(
        '--classes',
        nargs='+',
        help='labels in the order of the ids 1, 2, ... (those found, sorted)',
    )
    return parser.parse_args()


def polygon(shape: dict) -> np.ndarray:
    """The corners (n, 2) of a labelme shape, as (x, y) in pixels.

    Raises:
        ValueError: It has no area.
    """
    points = np.array(shape['points'], float).reshape(-1, 2)
    kind = shape.get('shape_type') or 'polygon'  # unsaid by old versions
    if kind == 'rectangle':
        (left, top), (right, bottom) = points.min(0), points.max(0)
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    elif kind == 'circle':
        centre, edge = points
        angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = centre + np.linalg.norm(edge - centre) * unit
    elif kind not in POLYGONS:
        raise ValueError(f'a {kind} is no outline of an object')
    if len(points) < 3:
        raise ValueError(f'a polygon of {len(points)} points has no area')
    return np.asarray(points)


def annotations_of(shapes: Sequence[dict], height: int, width: int) -> list:
    """COCO's annotations of an image's shapes, with their label as category.

    Raises:
        ValueError: An object that covers no pixel of the image.
    """
    objects: dict[tuple, list[np.ndarray]] = {}
    for i, shape in enumerate(shapes):
        group = shape.get('group_id')
        alone = i if group is None else None
        key = shape['label'], group, alone
        objects.setdefault(key, []).append(polygon(shape))
    annotations = []
    for (label, _, _), polygons in objects.items():
        segments = [corners.ravel().tolist() for corners in polygons]
        rle = coco_mask.merge(coco_mask.frPyObjects(segments, height, width))
        area = int(coco_mask.area(rle))
        if not area:
            raise ValueError(f'a {label!r} covers no pixel of the image')
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
        ValueError: They do not fit together, or the image cannot be read.
        KeyError, TypeError: It is not labelme's.
    """
    data = json.loads(file.read_text(encoding='utf-8'))
    # Windows' separators where it was drawn there; links are not followed
    name = data['imagePath'].replace('\\', '/')
    path = Path(os.path.abspath(file.parent / name))
    if not path.is_file() or not path.stat().st_size:
        raise ValueError(f'its image {path} is missing or empty')
    # As MMDetection loads it: turned as EXIF says, which labelme does too
    picture = mmcv.imread(path)
    if picture is None:
        raise ValueError(f'its image {path} cannot be read')
    if not path.is_relative_to(folder):
        raise ValueError(f'its image {path} lies outside of {folder}')
    height, width = picture.shape[:2]
    labelled = data.get('imageHeight'), data.get('imageWidth')
    if labelled not in ((height, width), (None, None)):
        raise ValueError(
            f'it was drawn on {labelled[1]} x {labelled[0]} pixels, its '
            f'image has {width} x {height}'
        )
    name = path.relative_to(folder).as_posix()
    image = dict(file_name=name, height=height, width=width)
    return image, annotations_of(data['shapes'], height, width)


def coco_of(
    found: Sequence[tuple[dict, list[dict]]], classes: Sequence[str]
) -> dict:
    """A COCO data set of images and their annotations, numbered from 1."""
    ids = {name: n for n, name in enumerate(classes, start=1)}
    images = [dict(id=n, **one) for n, (one, _) in enumerate(found, start=1)]
    owned = [
        dict(one, image_id=image['id'], category_id=ids[one['category_id']])
        for image, (_, annotations) in zip(images, found)
        for one in annotations
    ]
    return dict(
        images=images,
        annotations=[dict(id=n, **a) for n, a in enumerate(owned, start=1)],
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
        sys.exit(f'labelme_to_coco.py: {args.folder} has no JSONs')
    found, bad, labels = [], [], set()
    for file in track(files, 'labelme'):
        try:
            image, annotations = read(file, folder)
            own = {one['category_id'] for one in annotations}
            unknown = own.difference(args.classes or own)
            if unknown:
                raise ValueError(f'{sorted(unknown)} not among --classes')
        except ValueError as error:
            bad.append(f'{file}: {error}')
            continue
        except Exception as error:  # whatever another program's JSON leads to
            bad.append(f'{file}: it is no JSON of labelme: {error!r}')
            continue
        found.append((image, annotations))
        labels |= own
    coco = coco_of(found, args.classes or sorted(labels))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(coco))
    print(
        f'{args.out}: {len(coco["images"])} images, '
        f'{len(coco["annotations"])} objects'
    )
    if bad:
        sys.exit('\n'.join(['labelme_to_coco.py: left out:', *bad]))


if __name__ == '__main__':
    main()
