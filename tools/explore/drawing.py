"""Pictures of an image's detections and of its locations' predictions.

All pictures are (H, W, 3) uint8 RGB. All boxes and points are in pixels of the
original image.
"""

import cv2
import mmcv
import numpy as np
import torch
from matplotlib import colormaps
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

from projects.sprnet.pasting import paste_one_by_one

from .location import LocationPrediction
from .view import View

SIDE = 400  # of the square pictures of a location
MARGIN = 1.2  # side of such a picture / long side of what it shows
GREY = (128, 128, 128)  # beside the image
COLOURS = dict(
    location=(255, 0, 255),
    anchors=(255, 255, 255),
    best=(255, 215, 0),
    box=(0, 229, 255),
    object=(0, 255, 0),
    grid=(255, 80, 80),
)
MASK_COLOURS = colormaps['viridis']


def draw_detections(
    visualizer: DetLocalVisualizer,
    view: View,
    score_threshold: float,
    mask_threshold: float,
) -> np.ndarray:
    """Draw the detections with at least a score into the displayed image.

    Args:
        visualizer: with the data set's classes and palette.
        view: the image.
        score_threshold: lowest score of a drawn detection.
        mask_threshold: lowest probability of a pixel of a mask.
    """
    detections = view.detections
    detections = detections[detections.scores >= score_threshold]
    masks = paste_one_by_one(
        detections.maps,
        detections.frames * view.scale,
        view.image.shape[:2],
        mask_threshold,
    )
    instances = InstanceData(
        bboxes=detections.bboxes * view.scale,
        labels=detections.labels,
        scores=detections.scores,
        masks=masks,
    )
    visualizer.add_datasample(
        '',
        view.image,
        DetDataSample(pred_instances=instances),
        draw_gt=False,
        pred_score_thr=0,
    )
    return visualizer.get_image()


def draw_cross(picture: np.ndarray, position: tuple[int, int]) -> np.ndarray:
    """Copy a picture and draw a cross at a position (x, y) of it."""
    picture = picture.copy()
    for colour, width in (((0, 0, 0), 6), (COLOURS['location'], 3)):
        cv2.drawMarker(
            picture, position, colour, markerSize=32, thickness=width
        )
    return picture


class Crop:
    """A square crop of an image around boxes, SIDE pixels wide.

    Args:
        view: the image.
        boxes: (n, 4) that the crop is to contain.
    """

    def __init__(self, view: View, boxes: np.ndarray) -> None:
        low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
        reach = MARGIN * (high - low).max() / 2
        self.zoom = SIDE / (2 * reach)  # of the original image
        self.shift = (reach - (low + high) / 2) * self.zoom
        scale = self.zoom / view.scale
        self.picture = cv2.warpAffine(
            view.image,
            np.array([[scale, 0, self.shift[0]], [0, scale, self.shift[1]]]),
            (SIDE, SIDE),
            borderValue=GREY,
        )

    def transform(self, boxes: np.ndarray) -> np.ndarray:
        """Convert boxes (n, 4) or (4,) to pixels of the crop, (n, 4)."""
        return boxes.reshape(-1, 4) * self.zoom + np.tile(self.shift, 2)

    def draw_boxes(self, colour: str, boxes: np.ndarray | None) -> None:
        """Draw boxes, unless they are None, in a colour of COLOURS."""
        if boxes is not None:
            self.picture = mmcv.imshow_bboxes(
                self.picture,
                self.transform(boxes),
                colors=COLOURS[colour],
                thickness=2,
                show=False,
            )

    def draw_points(self, colour: str, points: np.ndarray) -> None:
        """Draw points (M, 2) in a colour of COLOURS."""
        for point in (points * self.zoom + self.shift).round().astype(int):
            cv2.circle(self.picture, point.tolist(), 3, COLOURS[colour], -1)


def draw_anchors(
    view: View,
    location: LocationPrediction,
    mark_best: bool,
    truth: np.ndarray | None,
) -> np.ndarray:
    """Draw a location's anchors into the part of the image that they cover.

    Args:
        view: the image.
        location: the location's prediction.
        mark_best: mark the anchor with the best score; only for box heads
            that score these anchors.
        truth: (4,) the annotated box that the anchors overlap most, if any.
    """
    crop = Crop(view, location.anchors)
    crop.draw_boxes('object', truth)
    crop.draw_boxes('anchors', location.anchors)
    crop.draw_boxes(
        'best', location.anchors[location.prior] if mark_best else None
    )
    crop.draw_boxes('location', location.cell)
    return crop.picture


def draw_map(location: LocationPrediction) -> np.ndarray:
    """Draw a location's mask cell by cell, its probabilities as colours."""
    picture = (MASK_COLOURS(location.mask)[..., :3] * 255).astype(np.uint8)
    return mmcv.imresize(picture, (SIDE, SIDE), interpolation='nearest')


def draw_mask(
    view: View,
    location: LocationPrediction,
    colour: tuple[int, int, int],
    mask_threshold: float,
    truth: np.ndarray | None,
) -> np.ndarray:
    """Draw a location's mask in its regressed box over the image around it.

    Args:
        view: the image.
        location: the location's prediction, with a BoxGrid's points.
        colour: of its class.
        mask_threshold: lowest probability of a pixel of the mask.
        truth: (4,) the annotated box that its anchors overlap most, if any.
    """
    crop = Crop(view, np.stack([location.box, location.cell]))
    (inside,) = paste_one_by_one(
        torch.from_numpy(location.mask)[None],
        torch.from_numpy(crop.transform(location.frame)),
        (SIDE, SIDE),
        mask_threshold,
    ).numpy()
    picture = crop.picture
    picture[inside] = picture[inside] * 0.3 + np.array(colour) * 0.7
    crop.draw_boxes('object', truth)
    crop.draw_boxes('box', location.box)
    crop.draw_boxes('location', location.cell)
    crop.draw_points('grid', location.points)
    return crop.picture
