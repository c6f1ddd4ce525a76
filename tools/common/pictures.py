"""Draw objects, and put pictures together."""

from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import mmcv
import numpy as np
import torch.nn.functional as F
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.structures import InstanceData

MAX_SHEET = 12_000  # largest side of a contact sheet, in pixels


def make_visualizer(config: Config, dataset_meta: dict) -> DetLocalVisualizer:
    """Make a config's visualizer, without its backends."""
    options = config.get('visualizer') or dict(type='FolderVisualizer')
    # mmengine returns an older visualizer of the same name
    changes = dict(vis_backends=None, name=uuid4().hex)
    visualizer = VISUALIZERS.build(dict(options, **changes))
    visualizer.dataset_meta = dataset_meta
    return visualizer


def draw_objects(
    visualizer: DetLocalVisualizer,
    image: np.ndarray,
    objects: InstanceData,
    least_side: int,
) -> np.ndarray:
    """Draw objects with masks on an image, (H, W, 3) RGB, which is enlarged to
    a long side of at least ``least_side``."""
    objects = objects.clone()
    scale = least_side / max(image.shape[:2])
    if scale > 1:  # lines and letters have at least a pixel
        image = mmcv.imrescale(image, scale)
        objects.bboxes = objects.bboxes * scale
        objects.masks = F.interpolate(
            objects.masks[:, None].byte(), image.shape[:2]
        )[:, 0].bool()
    sample = DetDataSample(gt_instances=objects)
    visualizer.add_datasample('', image, sample, draw_pred=False)
    return visualizer.get_image()


def contact_sheet(
    pictures: Iterable[np.ndarray], count: int, out: Path, cell: int = 480
) -> None:
    """Write pictures as one grid with about as many rows as columns.

    Args:
        pictures: (H, W, 3) uint8 BGR.
        count: How many there are.
        out: The file to write.
        cell: The side of a picture with its margin, in pixels; it shrinks
            where the grid would be larger than ``MAX_SHEET``.
    """
    columns = int(np.ceil(count**0.5))
    cell = min(cell, MAX_SHEET // columns)
    side = cell - 8
    small = [mmcv.imrescale(picture, (side, side)) for picture in pictures]
    rows = []
    for first in range(0, count, columns):
        row = small[first : first + columns]
        shape = (max(len(picture) for picture in row) + 8, cell)
        cells = [mmcv.impad(p, shape=shape, pad_val=(255,) * 3) for p in row]
        row, shape = np.hstack(cells), (shape[0], columns * cell)
        rows.append(mmcv.impad(row, shape=shape, pad_val=(255,) * 3))
    mmcv.imwrite(np.vstack(rows), str(out))
