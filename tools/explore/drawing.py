"""Pictures of an image's detections and of what its pixels hold.

All are uint8 RGB. Colours, of the legend too: see COLOURS.
"""

import cv2
import mmcv
import numpy as np
import torch
from matplotlib import colormaps
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

from projects.sprnet.pasting import paste_masks

from .pixel import Held
from .view import View

SIDE = 400  # of the pictures of a pixel
MARGIN = 1.2  # sides of such a picture, over those of what it is around
GREY = (128, 128, 128)  # what lies outside of the image
COLOURS = dict(
    pixel=(255, 0, 255),
    anchors=(255, 255, 255),
    best=(255, 215, 0),
    box=(0, 229, 255),
    object=(0, 255, 0),
    grid=(255, 80, 80),
)
MAP = colormaps['viridis']


def draw_detections(
    visualizer: DetLocalVisualizer, view: View, score: float, mask: float
) -> np.ndarray:
    """The image with its detections of at least a score.

    Args:
        visualizer: with the data set's classes and palette.
        view: the image.
        score: detections from this score on.
        mask: pixels belong to a mask from this probability on.
    """
    found = view.found[view.found.scores >= score]
    boxes, frames = found.bboxes * view.scale, found.frames * view.scale
    objects = InstanceData(
        bboxes=boxes,
        labels=found.labels,
        scores=found.scores,
        masks=paste_masks(found.maps, frames, *view.image.shape[:2], mask),
    )
    np.random.seed(0)  # it varies the palette's colours, now always alike
    visualizer.add_datasample(
        '',
        view.image,
        DetDataSample(pred_instances=objects),
        draw_gt=False,
        pred_score_thr=0,
    )
    return visualizer.get_image()


def mark(picture: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """A copy with a cross at a place, as (x, y)."""
    picture = picture.copy()
    for colour, width in (((0, 0, 0), 6), (COLOURS['pixel'], 3)):
        cv2.drawMarker(picture, place, colour, markerSize=32, thickness=width)
    return picture


class Window:
    """The square part of an image around boxes, as a picture of SIDE pixels.

    Args:
        view: the image.
        boxes: (n, 4) in pixels of the original image.
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

    def placed(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes (n, 4) or (4,) of the image in the picture, (n, 4)."""
        return boxes.reshape(-1, 4) * self.zoom + np.tile(self.shift, 2)

    def add(self, name: str, boxes: np.ndarray | None) -> None:
        """Draw boxes, if there are any, in the colour of a name of COLOURS."""
        if boxes is not None:
            self.picture = mmcv.imshow_bboxes(
                self.picture,
                self.placed(boxes),
                colors=COLOURS[name],
                thickness=2,
                show=False,
            )

    def dot(self, name: str, points: np.ndarray) -> None:
        """Draw points (M, 2) of the image in the colour of a name."""
        for point in (points * self.zoom + self.shift).round().astype(int):
            cv2.circle(self.picture, point.tolist(), 3, COLOURS[name], -1)


def draw_anchors(
    view: View, held: Held, best: bool, truth: np.ndarray | None
) -> np.ndarray:
    """A pixel's anchors in as much of the image as they reach.

    Args:
        view: the image.
        held: what the pixel holds.
        best: the box head scores these anchors, so one is the best.
        truth: (4,) the annotated box that they overlap most, if any.
    """
    window = Window(view, held.anchors)
    window.add('object', truth)
    window.add('anchors', held.anchors)
    window.add('best', held.anchors[held.prior] if best else None)
    window.add('pixel', held.cell)
    return window.picture


def draw_map(held: Held) -> np.ndarray:
    """The mask that a pixel reconstructs, cell by cell, in MAP's colours."""
    picture = (MAP(held.mask)[..., :3] * 255).astype(np.uint8)
    return mmcv.imresize(picture, (SIDE, SIDE), interpolation='nearest')


def draw_mask(
    view: View,
    held: Held,
    colour: tuple[int, int, int],
    mask: float,
    truth: np.ndarray | None,
) -> np.ndarray:
    """A pixel's mask in its regressed box, over the image around that, and
    the points that were read for it, if it was the box that was read.

    Args:
        view: the image.
        held: what the pixel holds.
        colour: of its class.
        mask: pixels belong to the mask from this probability on.
        truth: (4,) the annotated box that its anchors overlap most, if any.
    """
    window = Window(view, np.stack([held.box, held.cell]))
    (inside,) = paste_masks(
        torch.from_numpy(held.mask)[None],
        torch.from_numpy(window.placed(held.frame)),
        SIDE,
        SIDE,
        mask,
    ).numpy()
    picture = window.picture
    picture[inside] = picture[inside] * 0.3 + np.array(colour) * 0.7
    window.add('object', truth)
    window.add('box', held.box)
    window.add('pixel', held.cell)
    window.dot('grid', held.points)
    return window.picture
