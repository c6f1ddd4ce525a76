"""labelme's drawings: a JSON beside each picture.

polygon, oriented rectangle   the pixels inside
rectangle                     the pixels inside
circle                        the pixels inside a polygon of 64 corners
mask                          its pixels
shapes with one label and     one object of all their pixels. A shape that
one group id                  lies inside another one is a hole, one inside
                              a hole is a part again
"""

import base64
import binascii
import io
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

from projects.sprnet.errors import InputError

from .pictures import (
    Object,
    Picture,
    Source,
    encode,
    object_of,
    part_of_file,
    picture_size,
    run_lengths,
)

IGNORED = '__ignore__'  # labelme's label of shapes to leave out
CORNERS = 64  # of a circle; the polygon has 99.8% of its area
# The last is X-AnyLabeling's name
POLYGONS = ('polygon', 'oriented_rectangle', 'rotation')
INSIDE = 0.98  # of a hole's pixels are inside the shape that it is in


def find(
    source: Path, images: Path | None, files: Sequence[Path]
) -> list[Source]:
    """All JSONs are drawings; one that is not will be named."""
    return [
        Source(f, partial(read, f, images), part_of_file(f, source))
        for f in files
    ]


def read(file: Path, images: Path | None) -> Picture:
    """Read a drawing and measure its picture.

    Raises:
        InputError: The picture cannot be read, or the JSON does not match it.
        KeyError, TypeError: labelme did not write the JSON.
    """
    try:
        data = json.loads(file.read_text(encoding='utf-8-sig'))
    except UnicodeDecodeError as error:
        raise InputError(
            "it is not in labelme's encoding, UTF-8; convert it"
        ) from error
    # labelme on Windows writes backslashes. Symbolic links are not followed.
    name = data['imagePath'].replace('\\', '/')
    path = Path(os.path.abspath(file.parent / name))
    if images and not path.is_file():
        path = images / path.name
    height, width = picture_size(path)
    labelled = data.get('imageHeight'), data.get('imageWidth')
    if labelled not in ((height, width), (None, None)):
        raise InputError(
            f'it was drawn on {labelled[1]} x {labelled[0]} pixels, but its '
            f'image has {width} x {height}'
        )
    shapes = [s for s in data['shapes'] if str(s['label']) != IGNORED]
    return Picture(path, height, width, objects_of(shapes, height, width))


def objects_of(
    shapes: Sequence[dict], height: int, width: int
) -> list[Object]:
    """The objects of a picture's shapes.

    Raises:
        InputError: A shape has no area, or an object covers no pixel.
    """
    groups: dict[tuple, list[dict]] = {}
    for i, shape in enumerate(shapes):
        group = shape.get('group_id')
        ungrouped = i if group is None else None
        key = str(shape['label']), group, ungrouped
        groups.setdefault(key, []).append(mask_of(shape, height, width))
    return [
        object_of(label, united(parts) if len(parts) > 1 else parts[0])
        for (label, _, _), parts in groups.items()
    ]


def united(shapes: Sequence[dict]) -> dict:
    """One mask of a group's shapes; what lies inside a shape is a hole.

    Args:
        shapes: Run lengths.
    """
    masks = [coco_mask.decode(s).astype(bool) for s in shapes]
    masks.sort(key=np.sum, reverse=True)
    whole = np.zeros_like(masks[0])
    for i, mask in enumerate(masks):
        around = sum(
            (mask & other).sum() >= INSIDE * mask.sum() < other.sum()
            for other in masks[:i]
        )
        whole = whole & ~mask if around % 2 else whole | mask
    return encode(whole)


def mask_of(shape: dict, height: int, width: int) -> dict:
    """Run lengths of a shape.

    Raises:
        InputError: It has no area.
    """
    points = np.array(shape['points'], float).reshape(-1, 2)
    if shape.get('shape_type') == 'mask':
        return encode(painted(shape.get('mask'), points, height, width))
    corners = polygon(shape.get('shape_type') or 'polygon', points)
    return run_lengths([corners.ravel().tolist()], height, width)


def painted(
    png: str | None, points: np.ndarray, height: int, width: int
) -> np.ndarray:
    """The pixels of a mask shape, (height, width) bool.

    Args:
        png: The crop of the mask as a PNG in base64.
        points: (2, 2), the crop's first and last pixel as (x, y).

    Raises:
        InputError: The crop cannot be read.
    """
    try:
        picture = Image.open(io.BytesIO(base64.b64decode(png)))
        crop = np.array(picture).astype(bool)
    except (binascii.Error, OSError, TypeError) as error:
        raise InputError(f'a mask cannot be read: {error}') from error
    left, top = points.min(0).round().astype(int)
    if crop.ndim != 2 or min(left, top) < 0:
        raise InputError(
            f'a mask of shape {crop.shape} at {left}, {top} does not fit into '
            'the image'
        )
    mask = np.zeros((height, width), bool)
    crop = crop[: height - top, : width - left]
    mask[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    return mask


def polygon(kind: str, points: np.ndarray) -> np.ndarray:
    """Corners (n, 2) of a shape that is no mask, as (x, y) in pixels.

    Raises:
        InputError: The shape has no area.
    """
    if kind == 'rectangle':
        (left, top), (right, bottom) = points.min(0), points.max(0)
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        points = np.array(corners)
    elif kind == 'circle':
        centre, edge = points
        angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
        unit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        points = centre + np.linalg.norm(edge - centre) * unit
    elif kind not in POLYGONS:
        raise InputError(f'a {kind} does not outline an object')
    if len(points) < 3:
        raise InputError(f'a polygon of {len(points)} points has no area')
    return points
