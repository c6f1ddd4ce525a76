"""Whether an object's box and area are those of its mask."""

import math

import numpy as np
from pycocotools import mask as coco_mask

from .faults import Finding

LEAST_IOU = 0.5  # of a box and the box around its mask
SLACK = 2.0  # pixels by which the edges of both may differ in any case
AREA_RATIO = 1.5  # between an area and the mask's or the box's
AREA_SLACK = 16.0  # pixels


def check_agreement(
    annotation: dict, height: int, width: int
) -> list[Finding]:
    """Compare the box and the area of an object with its mask.

    Args:
        annotation: Its segmentation has no fault and covers some pixels.
        height, width: Of the image, in pixels.
    """
    rle = encode(annotation['segmentation'], height, width)
    truth, area = coco_mask.toBbox(rle), float(coco_mask.area(rle))
    box = np.array(annotation['bbox'], float)
    findings = []
    if not agree(box, truth, height, width):
        form = guess_form(box, truth, height, width)
        if form or min(box[2:]) >= 1:  # no area is a fault of its own
            hint = f'; it fits as {form}' if form else ''
            place = f'its mask lies in {truth.tolist()}{hint}'
            what = f'bbox {box.tolist()}, {place}'
            findings.append(('box of another mask', what))
    given, outer = annotation['area'], box[2] * box[3]
    if 0 < given < math.inf and not (
        alike(given, area) or alike(given, outer)
    ):
        what = f'area {given:g}, its mask has {area:g} and its box {outer:g}'
        findings.append(('area of something else', what))
    return findings


def encode(segmentation: list | dict, height: int, width: int) -> dict:
    """Turn polygons or run lengths into compressed run lengths."""
    if isinstance(segmentation, dict):
        if isinstance(segmentation['counts'], str):
            return segmentation
        return coco_mask.frPyObjects(segmentation, height, width)
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))


def agree(box: np.ndarray, truth: np.ndarray, height: int, width: int) -> bool:
    """Tell whether two boxes (x, y, w, h) are about the same in an image."""
    if not np.isfinite(box).all():
        return True  # a fault of another kind
    limits = np.array([width, height, width, height], float)
    edges, truth_edges = (
        np.clip([b[0], b[1], b[0] + b[2], b[1] + b[3]], 0, limits)
        for b in (box, truth)
    )
    if np.abs(edges - truth_edges).max() <= SLACK:
        return True
    low = np.maximum(edges[:2], truth_edges[:2])
    high = np.minimum(edges[2:], truth_edges[2:])
    common = np.prod(np.clip(high - low, 0, None))
    areas = [
        np.prod(np.clip(e[2:] - e[:2], 0, None)) for e in (edges, truth_edges)
    ]
    return common >= LEAST_IOU * (sum(areas) - common) and common > 0


def guess_form(
    box: np.ndarray, truth: np.ndarray, height: int, width: int
) -> str:
    """Name the form in which a box fits its mask; '' if in none."""
    a, b, c, d = box
    scale = np.array([width, height, width, height], float)
    forms = {
        '(x1, y1, x2, y2)': (a, b, c - a, d - b),
        '(centre x, centre y, width, height)': (a - c / 2, b - d / 2, c, d),
        '(y, x, height, width)': (b, a, d, c),
        'shares of the image': box * scale,
        'shares of the image, (centre x, centre y, width, height)': (
            np.array([a - c / 2, b - d / 2, c, d]) * scale
        ),
        'pixels of an image of half the size': box * 2,
        'pixels of an image of twice the size': box / 2,
    }
    for name, form in forms.items():
        if agree(np.array(form), truth, height, width):
            return name
    return ''


def alike(one: float, other: float) -> bool:
    """Tell whether two areas are about the same."""
    if abs(one - other) <= AREA_SLACK:
        return True
    return max(one, other) <= AREA_RATIO * min(one, other)
