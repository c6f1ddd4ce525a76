"""Outlines of masks as polygons, with their holes."""

import contourpy
import cv2
import numpy as np

from .run_lengths import cropped

TOLERANCE = 0.4  # pixels by which a polygon may leave the mask's outline


def polygons_of(rle: dict) -> list[list[list[list[float]]]]:
    """The polygons of a mask, as the coordinates of GeoJSON's MultiPolygon.

    Args:
        rle: COCO's run lengths.

    Returns:
        The mask's separate parts. A part is a list of rings, first its outline
        and then its holes; a ring is a list of points [x, y] whose last is its
        first. (0, 0) is the corner of the image, as in COCO's polygons.
    """
    x, y, mask = cropped(rle)
    if not mask.size:
        return []
    lines = contourpy.contour_generator(
        z=np.pad(mask, 1).astype(float), fill_type='OuterOffset'
    )
    parts = []
    for points, offsets in zip(*lines.filled(0.5, 1)):
        # A pixel's centre is half a pixel right of its edge; the frame of
        # zeros is one pixel wide.
        points = points + (x - 0.5, y - 0.5)
        rings = np.split(points, offsets[1:-1])
        parts.append([simplified(ring) for ring in rings])
    return parts


def simplified(ring: np.ndarray) -> list[list[float]]:
    """Leave out corners that matter little; close the ring.

    Args:
        ring: (n, 2), closed.
    """
    corners = cv2.approxPolyDP(ring[:-1].astype(np.float32), TOLERANCE, True)
    corners = corners[:, 0] if len(corners) > 2 else ring[:-1]
    return [*corners.tolist(), corners[0].tolist()]
