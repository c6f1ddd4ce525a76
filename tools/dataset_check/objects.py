"""Checks of an annotated object's box and mask."""

import math
import re
from typing import Any

import numpy as np
import shapely
from pycocotools import mask as coco_mask

from .annotations import is_number
from .faults import Finding

MARGIN = 1.0  # pixels by which a box or polygon may leave the image
# pycocotools allocates five points per pixel of a polygon's outline.
MAX_OUTLINE = 1e7  # pixels
# A compressed run length: characters of 5 bits each; a flag on all but the
# last says that it continues. pycocotools reads past the end of the string if
# no character ends the run.
RUN = re.compile('[P-o]{0,6}[0-O]')


def check_box(annotation: dict, height: int, width: int) -> list[Finding]:
    """Find the faults of a box; ``height`` and ``width`` are the image's."""
    box, area = annotation['bbox'], annotation['area']
    x, y, w, h = box
    if not all(map(math.isfinite, [*box, area])):
        return [('box not finite', f'bbox {box}, area {area}')]
    if w < 1 or h < 1 or area <= 0:
        hint = '; are these shares of the image?' if 0 < w < 1 > h > 0 else ''
        return [('box without area', f'bbox {box}, area {area}{hint}')]
    where = f'bbox {box} in an image of {width} x {height}'
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        return [('box outside of the image', where)]
    if _leaves([x, x + w], width) or _leaves([y, y + h], height):
        return [('box out of the image', where)]
    return []


def check_mask(
    mask: Any, height: int, width: int, evaluated: bool
) -> list[Finding]:
    """Find the faults of a segmentation.

    Args:
        mask: as in a COCO JSON.
        height, width: of the image, in pixels.
        evaluated: whether COCO's evaluation reads it, too.
    """
    if not mask:
        return [('no mask', 'its segmentation is missing or empty')]
    if isinstance(mask, dict):
        return _check_rle(mask, height, width, evaluated)
    if not isinstance(mask, list):
        return [('not a mask', f'its segmentation is a {type(mask).__name__}')]
    return _check_polygons(mask, height, width, evaluated)


def _check_polygons(
    mask: list, height: int, width: int, evaluated: bool
) -> list[Finding]:
    for polygon in mask:
        if not isinstance(polygon, list):
            what = f'its list of polygons holds a {type(polygon).__name__}'
            return [('not a mask', what)]
        if not all(is_number(v) and math.isfinite(v) for v in polygon):
            return [('not a mask', 'a coordinate is not a finite number')]
    good = [p for p in mask if len(p) >= 6 and len(p) % 2 == 0]
    faults = []
    if len(good) < len(mask):
        short = next(p for p in mask if p not in good)
        what = f'a polygon of {len(short)} coordinates'
        faults.append(('short polygon', what))
    if evaluated and len(mask[0]) < 5:
        # pycocotools reads such a list as boxes, or refuses it.
        what = f'its first polygon has {len(mask[0])} coordinates'
        faults.append(('unusable in evaluation', what))
    if not good:
        return faults
    outlines = [np.array(p, float).reshape(-1, 2) for p in good]
    points = np.concatenate(outlines)
    with np.errstate(over='ignore'):
        length = sum(_length(outline) for outline in outlines)
    if max(length, np.abs(points).max()) > MAX_OUTLINE:
        what = f'an outline of {length:.0e} pixels, or one as far outside'
        return [*faults, ('endless polygon', what)]
    if _leaves(points[:, 0], width) or _leaves(points[:, 1], height):
        (x1, y1), (x2, y2) = points.min(axis=0), points.max(axis=0)
        what = (
            f'x from {x1:g} to {x2:g}, y from {y1:g} to {y2:g} '
            f'in an image of {width} x {height}'
        )
        faults.append(('polygon out of the image', what))
    for outline in outlines:
        why = shapely.is_valid_reason(shapely.Polygon(outline))
        if why.startswith('Self-intersection'):
            faults.append(('self-crossing polygon', why))
    rle = coco_mask.merge(coco_mask.frPyObjects(good, height, width))
    return faults + _check_area(coco_mask.area(rle))


def _check_rle(
    mask: dict, height: int, width: int, evaluated: bool
) -> list[Finding]:
    counts, size = mask.get('counts'), mask.get('size')
    if size is None or not isinstance(counts, (list, str)):
        what = 'an RLE without counts or size'
        kinds = ['short polygon', 'unusable in evaluation'][: 1 + evaluated]
        return [(kind, what) for kind in kinds]
    if size != [height, width]:
        what = f'an RLE of {size} in an image of [{height}, {width}]'
        return [('mask of another size', what)]
    runs = counts if isinstance(counts, list) else decode_counts(counts)
    if runs is None or not all(type(r) is int and r >= 0 for r in runs):
        return [('not a mask', 'its counts are not run lengths')]
    if sum(runs) != height * width:
        what = f'its counts add up to {sum(runs)}, not {height * width} pixels'
        return [('not a mask', what)]
    return _check_area(sum(runs[1::2]))


def decode_counts(counts: str) -> list[int] | None:
    """Decode the run lengths of a compressed RLE; None if it is malformed.

    pycocotools decodes them too, but it does not check that they add up to
    the size of the image.
    """
    if not re.fullmatch(f'({RUN.pattern})*', counts):
        return None
    runs: list[int] = []
    for word in RUN.findall(counts):
        bits = [ord(character) - 48 for character in word]
        run = sum((b & 31) << 5 * i for i, b in enumerate(bits))
        if bits[-1] & 16:
            run -= 1 << 5 * len(bits)
        runs.append(run + runs[-2] if len(runs) > 2 else run)
    return runs


def _check_area(area: int) -> list[Finding]:
    return [] if area else [('empty mask', 'it covers no pixel of the image')]


def _length(outline: np.ndarray) -> float:
    """Length of a closed outline (n, 2) in the maximum norm."""
    sides = np.abs(outline - np.roll(outline, 1, axis=0))
    return sides.max(axis=1).sum()


def _leaves(values: np.ndarray, size: int) -> bool:
    return min(values) < -MARGIN or max(values) > size + MARGIN
