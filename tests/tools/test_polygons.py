"""predict.py --polygons: the outlines of masks."""

import cv2
import numpy as np
import shapely
from prediction.polygons import polygons_of
from pycocotools import mask as coco_mask


def blobs():
    """Masks of all kinds: with holes, in parts, at borders, of one pixel."""
    rng = np.random.default_rng(0)
    noise = cv2.GaussianBlur(
        rng.random((60, 80)).astype(np.float32), (0, 0), 3
    )
    single = np.zeros((60, 80), bool)
    single[0, 79] = True
    ring = np.zeros((60, 80), bool)
    ring[5:50, 5:50] = True
    ring[20:30, 20:30] = False
    return [noise > 0.5, noise < 0.48, single, ring, single & False]


def outlines(mask):
    return polygons_of(coco_mask.encode(np.asfortranarray(mask, np.uint8)))


def test_polygons_have_the_area_and_holes_of_their_masks():
    for mask in blobs():
        rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        shape = shapely.MultiPolygon(
            [
                shapely.Polygon(rings[0], rings[1:])
                for rings in polygons_of(rle)
            ]
        )
        assert shape.is_valid
        y, x = np.mgrid[:60, :80] + 0.5
        again = shapely.contains_xy(shape, x.ravel(), y.ravel())
        assert (again.reshape(60, 80) != mask).mean() < 0.01
        assert abs(shape.area - mask.sum()) <= 0.05 * mask.sum() + 0.5
    (rings,) = outlines(blobs()[3])
    assert len(rings) == 2 and rings[0][0] == rings[0][-1]
    assert np.ptp(rings[0], axis=0).tolist() == [45, 45]
    assert np.min(rings[1], axis=0).tolist() == [20, 20]
