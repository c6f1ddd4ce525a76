"""How well anchors fit the objects of a data set, as a network sees them."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from mmdet.registry import TASK_UTILS, TRANSFORMS


class Objects(NamedTuple):
    """G objects, in pixels of the network's input."""

    boxes: np.ndarray  # (G, 4) as (x1, y1, x2, y2)
    images: np.ndarray  # (G, 2) width and height of each object's image

    @property
    def sides(self) -> np.ndarray:
        """(G,) side of a square of the box's area."""
        width, height = (self.boxes[:, 2:] - self.boxes[:, :2]).T
        return np.sqrt(width * height)

    def scaled(self, factor: float) -> 'Objects':
        """The objects in images enlarged by a factor."""
        return Objects(self.boxes * factor, np.ceil(self.images * factor))


def objects_of(images: Sequence[dict], annotations: Sequence[dict]) -> Objects:
    """Read the objects of a COCO JSON, without crowds and boxes of no area.

    Args:
        images: With ``id``, ``width`` and ``height``.
        annotations: With ``image_id``, ``bbox`` and perhaps ``iscrowd``.
    """
    sizes = {i['id']: (i['width'], i['height']) for i in images}
    kept = [
        a
        for a in annotations
        if not a.get('iscrowd') and a['image_id'] in sizes
    ]
    boxes = np.array([a['bbox'] for a in kept], float).reshape(-1, 4)
    places = np.array([sizes[a['image_id']] for a in kept], float)
    usable = np.isfinite(boxes).all(axis=1) & (boxes[:, 2:] > 0).all(axis=1)
    boxes[:, 2:] += boxes[:, :2]
    return Objects(boxes[usable], places.reshape(-1, 2)[usable])


def fitted(objects: Objects, size: int) -> Objects:
    """Scale objects as Resize does with ``scale=(size, size)``."""
    factors = size / objects.images.max(axis=1, initial=1)[:, None]
    return Objects(objects.boxes * factors, np.round(objects.images * factors))


def resized(objects: Objects, pipeline: Sequence[dict]) -> Objects:
    """Scale objects as the steps of a pipeline whose type ends in Resize do.

    Crops and other steps are not followed.
    """
    steps = [s for s in pipeline if type_name(s).endswith('Resize')]
    transforms = [TRANSFORMS.build(step) for step in steps]

    @cache
    def after(width: int, height: int) -> tuple[int, int]:
        results: dict[str, Any] = dict(
            img=np.zeros((height, width), np.uint8),
            img_shape=(height, width),
        )
        for transform in transforms:
            results = transform(results)
        return results['img'].shape[1::-1]

    images = [after(*map(int, size)) for size in objects.images]
    images = np.array(images, float).reshape(-1, 2)
    factors = np.tile(images / objects.images, 2)
    return Objects(objects.boxes * factors, images)


def type_name(part: dict) -> str:
    """Name of the type of a part of a config; pure Python configs hold the
    type itself."""
    kind = part.get('type', '')
    return getattr(kind, '__name__', kind)


def best_overlaps(objects: Objects, generator: dict) -> np.ndarray:
    """IoU of each object with the anchor that overlaps it most.

    Of one anchor's copies on a level's grid the nearest to the object overlaps
    it most, so the others are not compared.

    Args:
        objects: G objects.
        generator: Config of an AnchorGenerator.

    Returns:
        (G,).
    """
    built = TASK_UTILS.build(generator)
    low, high = objects.boxes[:, :2], objects.boxes[:, 2:]
    area = (high - low).prod(axis=1)
    best = np.zeros(len(area))
    for stride, anchors in zip(built.strides, built.base_anchors):
        last = np.maximum(np.ceil(objects.images / stride) - 1, 0)
        for anchor in anchors.double().numpy():
            first, second = anchor[:2], anchor[2:]
            cell = ((low + high) - (first + second)) / 2 / stride
            place = np.clip(np.round(cell), 0, last) * stride
            sides = np.minimum(high, place + second)
            sides -= np.maximum(low, place + first)
            common = np.clip(sides, 0, None).prod(axis=1)
            union = area + (second - first).prod() - common
            best = np.maximum(best, common / union)
    return best


def with_base(generator: dict, base: float) -> dict:
    """An AnchorGenerator's config whose smallest anchor is ``base`` strides
    wide: RetinaNet's ``octave_base_scale``, or the one scale of an RPN."""
    key = 'scales' if generator.get('scales') else 'octave_base_scale'
    return dict(generator, **{key: [base] if key == 'scales' else base})


def base_of(generator: dict) -> float:
    """What :func:`with_base` sets."""
    scales = generator.get('scales')
    return min(scales) if scales else generator['octave_base_scale']
