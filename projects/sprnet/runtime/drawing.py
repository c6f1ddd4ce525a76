"""Draw instances so that a field of many small ones can be looked at.

Shapes: n instances, H and W of the picture. Pictures are (H, W, 3) uint8 RGB,
boxes (n, 4) as (x1, y1, x2, y2) in pixels.
"""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from matplotlib.colors import hsv_to_rgb
from matplotlib.textpath import TextPath

GOLDEN = 0.618034  # of a turn between hues, so that neighbours in order differ
COMMON_SIDE = 800  # of a picture whose lines and letters have their usual size
WIDEST_LINE = 3  # pixels, in such a picture
LINE_SHARE = 1 / 24  # of an object's side is its outline wide, at most
TEXT_SHARE = 1 / 6  # of an object's box is covered by its label, at most
POINTS = 72  # to an inch


def instance_colours(count: int) -> np.ndarray:
    """Colours (count, 3) uint8 RGB; those that follow each other differ."""
    number = np.arange(count)
    hues = (number * GOLDEN) % 1
    saturations = np.array([0.9, 0.6, 0.75])[number % 3]
    colours = hsv_to_rgb(np.stack([hues, saturations, np.ones(count)], 1))
    return (colours * 255).astype(np.uint8)


def enlargement(shape: Sequence[int]) -> float:
    """How much larger than usual lines and letters are in a large picture."""
    return max(max(shape[:2]) / COMMON_SIDE, 1)


def outline_width(area: float, shape: Sequence[int]) -> int:
    """Width of the outline of an object, in pixels.

    Args:
        area: Of the object, in pixels.
        shape: Of the picture.
    """
    widest = WIDEST_LINE * enlargement(shape)
    return max(round(min(area**0.5 * LINE_SHARE, widest)), 1)


def mask_boxes(masks: np.ndarray) -> np.ndarray:
    """Boxes (n, 4) of masks (n, H, W) bool; zeros where a mask is empty."""
    boxes = [cv2.boundingRect(mask.astype(np.uint8)) for mask in masks]
    boxes = np.array(boxes, float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def draw_masks(
    picture: np.ndarray,
    masks: np.ndarray,
    colours: np.ndarray,
    alpha: float,
    width: float | None = None,
) -> np.ndarray:
    """Draw masks as tinted areas with outlines, the smallest one on top.

    Args:
        picture: Is not changed.
        masks: (n, H, W) bool.
        colours: (n, 3).
        alpha: Opacity of the tint, 0..1.
        width: Of all outlines, in pixels; None fits it to the object.
    """
    picture = np.ascontiguousarray(picture).copy()
    boxes = mask_boxes(masks).astype(int)
    for i in sorted(range(len(masks)), key=lambda i: -masks[i].sum()):
        x1, y1, x2, y2 = boxes[i]
        crop = masks[i, y1:y2, x1:x2]
        if not crop.size:
            continue
        region = picture[y1:y2, x1:x2]
        region[crop] = (1 - alpha) * region[crop] + alpha * colours[i]
        contours, _ = cv2.findContours(
            crop.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )
        line = width or outline_width(crop.sum(), picture.shape)
        cv2.drawContours(
            *(picture, contours, -1, colours[i].tolist(), round(line)),
            offset=(int(x1), int(y1)),
        )
    return picture


def draw_boxes(
    picture: np.ndarray,
    boxes: np.ndarray,
    colours: np.ndarray,
    width: float | None = None,
) -> np.ndarray:
    """Draw boxes like the outlines of :func:`draw_masks`."""
    picture = np.ascontiguousarray(picture).copy()
    for (x1, y1, x2, y2), colour in zip(boxes.round().astype(int), colours):
        area = float((x2 - x1) * (y2 - y1))
        line = width or outline_width(max(area, 0), picture.shape)
        ends = (int(x1), int(y1)), (int(x2) - 1, int(y2) - 1)
        cv2.rectangle(picture, *ends, colour.tolist(), round(line))
    return picture


@lru_cache(4096)
def text_size(text: str, points: int, dpi: float) -> tuple[float, float]:
    """Width and height of a line of text with its margin, in pixels."""
    width = TextPath((0, 0), text, size=points).get_extents().width
    return (width + 4) * dpi / POINTS, (1.4 * points) * dpi / POINTS


def free_places(
    boxes: np.ndarray, sizes: np.ndarray, scores: np.ndarray
) -> list[tuple[float, float] | None]:
    """Find places where labels hide nothing that they do not name.

    A label stands in a corner or in the middle of its own object, if it covers
    little of it, no smaller object and no label of a higher score.

    Args:
        boxes: (n, 4) of the objects.
        sizes: (n, 2), width and height of their labels.
        scores: (n,); a label of a higher score comes first.

    Returns:
        The top left corner of each label, (x, y); None where it has no place.
    """
    places: list[tuple[float, float] | None] = [None] * len(boxes)
    sides = boxes[:, 2:] - boxes[:, :2]
    areas = sides.prod(1)
    fits = (sizes <= sides).all(1) & (sizes.prod(1) <= TEXT_SHARE * areas)
    labels = np.zeros((0, 4))
    for i in sorted(np.flatnonzero(fits), key=lambda i: -scores[i]):
        smaller = boxes[(areas < areas[i]) & (np.arange(len(boxes)) != i)]
        taken = np.concatenate([smaller, labels])
        room = sides[i] - sizes[i]
        for share in ((0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5)):
            start = boxes[i, :2] + room * share
            end = start + sizes[i]
            meets = (start < taken[:, 2:]) & (end > taken[:, :2])
            if not meets.all(1).any():
                places[i] = tuple(start)
                labels = np.append(labels, [[*start, *end]], axis=0)
                break
    return places
