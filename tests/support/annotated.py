"""Pictures with objects in the forms that tools/to_coco.py reads."""

import base64
import io
import json
from pathlib import Path

import cv2
import numpy as np
import to_coco
from PIL import Image
from pycocotools.coco import COCO

from .in_process import run_command

HEIGHT, WIDTH = 80, 100


def picture(file: Path, height: int = HEIGHT, width: int = WIDTH) -> Path:
    """Write a picture of noise."""
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 99, (height, width, 3))
    cv2.imwrite(str(file), noise.astype(np.uint8))
    return file


def numbers() -> np.ndarray:
    """A label image of a ring, of two squares that touch, and of an object in
    two parts, numbered 1, 2, 5 and 9."""
    image = np.zeros((HEIGHT, WIDTH), int)
    image[5:30, 5:30] = 1
    image[12:20, 12:20] = 0
    image[40:50, 10:20] = 2
    image[40:50, 20:30] = 5
    image[60:70, 0:10] = image[60:70, 90:100] = 9
    return image


def shape(label, points, kind='polygon', group=None, **fields) -> dict:
    """A shape as labelme writes it."""
    return dict(
        label=label,
        points=points,
        shape_type=kind,
        group_id=group,
        flags={},
        **fields,
    )


def painted(label, mask, **fields) -> dict:
    """labelme's mask shape of a bool array."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
    png = io.BytesIO()
    crop = mask[top : bottom + 1, left : right + 1]
    Image.fromarray(crop.astype(np.uint8)).save(png, 'PNG')
    text = base64.b64encode(png.getvalue()).decode()
    corners = [[int(left), int(top)], [int(right), int(bottom)]]
    return shape(label, corners, 'mask', mask=text, **fields)


def drawing(
    folder: Path, name: str, shapes, height=HEIGHT, width=WIDTH, **fields
) -> Path:
    """Write a picture, and the JSON that labelme would write beside it."""
    picture(folder / f'{name}.jpg', height, width)
    data = dict(
        version='5.5.0',
        flags={},
        shapes=shapes,
        imagePath=f'{name}.jpg',
        imageData=None,
        imageHeight=height,
        imageWidth=width,
    )
    file = folder / f'{name}.json'
    file.write_text(json.dumps({**data, **fields}))
    return file


MASKS = [numbers() == n for n in (1, 2, 5, 9)]


def convert(source, out, *arguments):
    """The data sets of train and val, and what was left out."""
    left_out = []
    try:
        run_command(to_coco, source, out, *arguments)
    except SystemExit as end:
        first, *left_out = end.code.splitlines()
        assert first == 'to_coco.py: left out:'
        assert not out.exists() or f'remove {out} ' in left_out.pop()
    return {f.stem: COCO(f) for f in sorted(out.glob('*.json'))}, left_out


def masks_of(coco, name):
    (image,) = [i for i in coco.imgs.values() if i['file_name'] == name]
    return [coco.annToMask(a) for a in coco.imgToAnns[image['id']]]


def assert_whole(coco, name, expected=MASKS):
    """A picture's masks, boxes and areas are as drawn."""
    masks = masks_of(coco, name)
    assert len(masks) == len(expected)
    for mask, drawn in zip(masks, expected):
        assert np.array_equal(mask, drawn)
    for one in coco.anns.values():
        mask = coco.annToMask(one)
        assert one['area'] == mask.sum() and one['iscrowd'] == 0
        x, y, width, height = map(int, one['bbox'])
        assert mask[y : y + height, x : x + width].any(1).all()
        assert mask[y : y + height, x : x + width].sum() == mask.sum()


def write_numbers(file, values=None):
    values = numbers() if values is None else values
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == '.npy':
        np.save(file, values)
    else:
        Image.fromarray(values).save(file)
