"""Make the shapes data set: instance segmentation in COCO's format and layout.

    python tools/make_shapes.py OUT

writes OUT/train2017/, OUT/val2017/ and OUT/annotations/instances_*.json. The
pictures show textured shapes of six classes on cluttered backgrounds. Shapes
overlap, and some are cut off by the edge of the picture. The same options
always make the same data set.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

from common.cli import parser_of
from common.progress import track

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from shapes_data.scenes import CLASSES, Instance, draw_scene

SPLITS = ('train2017', 'val2017')
OPTIONS_FILE = 'shapes.json'  # written last, so it marks a finished data set


def polygons(mask: np.ndarray, grid: int = 4) -> list[list[float]]:
    """Trace a mask's outlines as COCO polygons.

    The mask is enlarged ``grid`` times, so that outlines follow the edges of
    pixels, not their centres.

    Returns:
        Polygons [x1, y1, x2, y2, ...] in pixels. None at all if polygons
        cannot represent the mask: COCO's polygons have no holes, and its
        evaluation refuses those of fewer than three corners.
    """
    fine = np.kron(mask, np.ones((grid, grid), np.uint8)).astype(np.uint8)
    contours, hierarchy = cv2.findContours(
        fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
    )
    if (hierarchy[0, :, 3] >= 0).any():
        return []
    simple = [cv2.approxPolyDP(c, 0.4 * grid, closed=True) for c in contours]
    if any(len(c) < 3 for c in simple):
        return []
    return [((c.reshape(-1) + 0.5) / grid).round(2).tolist() for c in simple]


def uncompressed_rle(mask: np.ndarray) -> dict:
    """Encode a mask as COCO does crowds: column-wise run lengths.

    Runs of background and object alternate; the first is background.
    """
    flat = mask.ravel(order='F')
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    return dict(size=list(mask.shape), counts=[0] * bool(flat[0]) + counts)


def segmentation(instance: Instance) -> list | dict:
    """Polygons, or the RLE of a crowd or of a mask that has no polygons."""
    if instance.crowd:
        return uncompressed_rle(instance.mask)
    outline = polygons(instance.mask)
    if outline:
        return outline
    rle = coco_mask.encode(np.asfortranarray(instance.mask, np.uint8))
    return dict(size=rle['size'], counts=rle['counts'].decode())


def annotation(instance: Instance, image_id: int, index: int) -> dict:
    """Make a COCO annotation with the segmentation's area and box."""
    segments = segmentation(instance)
    height, width = instance.mask.shape
    if isinstance(segments, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segments, height, width))
    elif isinstance(segments['counts'], list):
        rle = coco_mask.frPyObjects(segments, height, width)
    else:
        rle = segments
    return dict(
        id=index,
        image_id=image_id,
        category_id=instance.label + 1,
        iscrowd=int(instance.crowd),
        segmentation=segments,
        area=float(coco_mask.area(rle)),
        bbox=coco_mask.toBbox(rle).tolist(),
    )


def write_split(
    out: Path, split: str, count: int, size: int, seed: int
) -> int:
    """Write the pictures and the JSON of a split.

    Returns:
        The number of objects.
    """
    folder = out / split
    folder.mkdir(parents=True)
    images, annotations = [], []
    for number in track(range(1, count + 1), split):
        rng = np.random.default_rng([seed, SPLITS.index(split), number])
        picture, instances = draw_scene(rng, size)
        name = f'{number:012d}.jpg'
        cv2.imwrite(
            str(folder / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 95]
        )
        images.append(dict(id=number, file_name=name, height=size, width=size))
        annotations += [
            annotation(instance, number, len(annotations) + 1 + i)
            for i, instance in enumerate(instances)
        ]
    categories = [
        dict(id=i, name=name, supercategory='shape')
        for i, name in enumerate(CLASSES, start=1)
    ]
    coco = dict(
        info=dict(description='SPRNet shapes', seed=seed),
        licenses=[],
        images=images,
        annotations=annotations,
        categories=categories,
    )
    (out / 'annotations').mkdir(exist_ok=True)
    (out / 'annotations' / f'instances_{split}.json').write_text(
        json.dumps(coco)
    )
    return len(annotations)


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('out', type=Path, help='folder of the data set')
    parser.add_argument(
        '--train', type=int, default=2200, help='training pictures (2200)'
    )
    parser.add_argument(
        '--val', type=int, default=200, help='validation pictures (200)'
    )
    parser.add_argument(
        '--size',
        type=int,
        default=192,
        help='side of a picture in pixels (192)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of all pictures (0)'
    )
    args = parser.parse_args()
    for name, least in dict(train=1, val=1, size=64, seed=0).items():
        value = getattr(args, name)
        if value < least:
            parser.error(f'--{name} must be at least {least}, not {value}')
    return args


def main() -> None:
    args = parse_args()
    options = {k: v for k, v in vars(args).items() if k != 'out'}
    made = args.out / OPTIONS_FILE
    if made.is_file() and json.loads(made.read_text()) == options:
        print(f'{args.out} already exists and has the same options')
        return
    if args.out.exists():
        sys.exit(
            f'make_shapes.py: {args.out} exists and is not a data set with '
            'these options; remove it or name another folder'
        )
    # Renamed when finished: a killed run leaves no half data set in OUT.
    unfinished = args.out.with_name(args.out.name + '.unfinished')
    shutil.rmtree(unfinished, ignore_errors=True)
    counts = dict(train2017=args.train, val2017=args.val)
    for split, count in counts.items():
        objects = write_split(unfinished, split, count, args.size, args.seed)
        print(f'{split}: {objects} objects')
    (unfinished / OPTIONS_FILE).write_text(json.dumps(options))
    unfinished.rename(args.out)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
