"""One picture of what was read."""

from collections.abc import Sequence
from pathlib import Path

from common.pictures import contact_sheet, draw_objects

import mmcv
import numpy as np
import torch
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from projects.sprnet.runtime import FolderVisualizer

from .pictures import Picture

COUNT = 9  # pictures
SIDE = 472  # of a picture's long side, in pixels


def write_preview(
    pictures: Sequence[Picture], classes: Sequence[str], out: Path
) -> None:
    """Draw some pictures with their objects as a grid.

    They are spread over all pictures that have objects.
    """
    shown = [p for p in pictures if p.objects] or pictures
    chosen = np.linspace(0, len(shown) - 1, min(COUNT, len(shown)))
    visualizer = FolderVisualizer()
    visualizer.dataset_meta = dict(classes=classes, palette='random')
    drawn = (draw(visualizer, shown[round(i)], classes) for i in chosen)
    contact_sheet(drawn, len(chosen), out)


def draw(
    visualizer: DetLocalVisualizer, picture: Picture, classes: Sequence[str]
) -> np.ndarray:
    """Draw a picture with its objects, (H, W, 3) uint8 BGR."""
    size = picture.height, picture.width
    masks = [
        coco_mask.decode(o.rle) if o.rle else np.zeros(size, np.uint8)
        for o in picture.objects
    ]
    boxes = np.array([o.bbox for o in picture.objects], np.float32)
    boxes = boxes.reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    objects = InstanceData(
        bboxes=torch.from_numpy(boxes),
        labels=torch.tensor(
            [classes.index(o.label) for o in picture.objects], dtype=torch.long
        ),
        masks=torch.from_numpy(np.array(masks).reshape(-1, *size)).bool(),
    )
    image = mmcv.imread(picture.path, channel_order='rgb')
    return draw_objects(visualizer, image, objects, SIDE)[..., ::-1]
