"""Which pixels and boxes train the mask head: its ``sampler``."""

from typing import NamedTuple

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from torch import Tensor

from .boxes import jittered
from .options import check_number, check_whole
from .pixels import best_pixels, positive_pixels


class Samples(NamedTuple):
    """P masks that an image trains."""

    pixels: Tensor  # (P,) of the pyramid
    instances: Tensor  # (P,) indices into the image's objects
    boxes: Tensor  # (P, 4) that each mask fills


def with_masks(samples: Samples, masks: BitmapMasks | PolygonMasks) -> Samples:
    """Those samples whose objects have a mask.

    An annotation without a segmentation is loaded with an empty mask, see
    :class:`.datasets.CheckedCocoDataset`.
    """
    used, place = samples.instances.unique(return_inverse=True)
    areas = np.asarray(masks[used.cpu().numpy()].areas)
    kept = torch.from_numpy(areas > 0).to(used.device)[place]
    return Samples(*(field[kept] for field in samples))


@TASK_UTILS.register_module()
class OverlapPixelSampler:
    """Choose the pixels that train the mask branch, sections 3.2 and 3.3.

    Args:
        threshold (float): A pixel is positive if one of its anchors has an IoU
            above this with a ground-truth box (Table 3d).
        max_pixels (int): At most so many an image; above, a random choice.

    Raises:
        ValueError: A threshold outside of 0..1, or fewer than one pixel.
    """

    def __init__(self, threshold: float = 0.7, max_pixels: int = 300) -> None:
        name = type(self).__name__
        check_number(
            name,
            lambda value: 0 <= value < 1,
            'be a number of at least 0 and below 1',
            threshold=threshold,
        )
        check_whole(name, max_pixels=max_pixels)
        self.threshold = threshold
        self.max_pixels = max_pixels

    def __str__(self) -> str:
        """The rule, in words."""
        return f'{type(self).__name__}, IoU > {self.threshold}'

    def positives(
        self, anchors: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All candidates: pixels (P,) and instances (P,), of any number."""
        return positive_pixels(anchors, boxes, self.threshold)

    def __call__(self, anchors: Tensor, boxes: Tensor) -> Samples:
        """Anchors (L, A, 4) and boxes (G, 4) of one image to at most
        ``max_pixels`` samples, each with its object's own box."""
        pixels, instances = self.positives(anchors, boxes)
        if len(pixels) > self.max_pixels:
            chosen = _some(pixels, self.max_pixels)
            pixels, instances = pixels[chosen], instances[chosen]
        return Samples(pixels, instances, boxes[instances])


@TASK_UTILS.register_module()
class EveryObjectPixelSampler(OverlapPixelSampler):
    """The paper's positive pixels, and for an object that has none the pixel
    whose anchor overlaps it most; none for an object that overlaps no anchor.

    Beyond the paper: many small objects have no anchor above the threshold and
    would never train a mask.
    """

    def positives(
        self, anchors: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As the base class's, then the best pixel of each object left out."""
        pixels, instances = super().positives(anchors, boxes)
        left_out = torch.ones(
            len(boxes), dtype=torch.bool, device=boxes.device
        )
        left_out[instances] = False
        left_out = left_out.nonzero()[:, 0]
        best, overlaps = best_pixels(anchors, boxes[left_out])
        seen = overlaps > 0  # by an anchor at all
        return (
            torch.cat([pixels, best[seen]]),
            torch.cat([instances, left_out[seen]]),
        )


@TASK_UTILS.register_module()
class JitteredBoxSampler:
    """Every object trains masks, in boxes such as a detector might give it.

    Beyond the paper, for encoders that read boxes: the ground-truth box, its
    edges moved at random. No prediction is needed, and objects that fit no
    anchor train as well.

    Args:
        copies (int): Boxes of an object.
        max_boxes (int): At most so many an image; above, a random choice.
        std (float): Standard deviation of an edge's shift, as a share of the
            box's side, see :func:`.boxes.jittered`.

    Raises:
        ValueError: Fewer than one copy or box, or a deviation outside of
            0..0.25.
    """

    def __init__(
        self, copies: int = 1, max_boxes: int = 100, std: float = 0.08
    ) -> None:
        name = type(self).__name__
        check_whole(name, copies=copies, max_boxes=max_boxes)
        check_number(
            name,
            lambda value: 0 <= value < 0.25,
            'be a number of at least 0 and below 0.25',
            std=std,
        )
        self.copies = copies
        self.max_boxes = max_boxes
        self.std = std

    def __call__(self, anchors: Tensor, boxes: Tensor) -> Samples:
        """Anchors (L, A, 4) and boxes (G, 4) of one image to at most
        ``max_boxes`` samples; the pixel is the one whose anchor fits best.

        Boxes without area and those of NaN have no samples.
        """
        (usable,) = (
            (boxes[:, 2:] > boxes[:, :2]).all(dim=1).nonzero(as_tuple=True)
        )
        instances = usable.repeat(self.copies)
        if len(instances) > self.max_boxes:
            instances = instances[_some(instances, self.max_boxes)]
        frames = jittered(boxes[instances], self.std)
        pixels, _ = best_pixels(anchors, frames)
        return Samples(pixels, instances, frames)


def _some(things: Tensor, count: int) -> Tensor:
    """Indices (count,) of a random choice."""
    return torch.randperm(len(things), device=things.device)[:count]
