"""Pixels and boxes that train masks: the mask head's ``sampler``.

Shape letters: see :mod:`.pyramid`.
"""

from typing import NamedTuple

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from .boxes import jittered
from .options import check_number, check_whole
from .pixels import positive_and_best_pixels, positive_pixels


class Samples(NamedTuple):
    """The P instances of one image that train masks."""

    pixels: Tensor | None  # (P,) of the pyramid; None: not chosen
    instances: Tensor  # (P,) indices of the image's objects
    boxes: Tensor  # (P, 4) that each mask fills


@TASK_UTILS.register_module()
class OverlapPixelSampler:
    """Sample the pixels that train the mask branch, sections 3.2 and 3.3.

    Args:
        threshold (float): A pixel is positive if one of its anchors has
            an IoU above this with a ground-truth box (Table 3d).
        max_pixels (int): Maximum number of pixels of an image. If more are
            positive, a random choice trains.

    Raises:
        InputError: The threshold is outside of [0, 1), or ``max_pixels`` is
            below 1.
    """

    def __init__(self, threshold: float = 0.7, max_pixels: int = 300) -> None:
        self.threshold = threshold
        self.max_pixels = max_pixels
        self._check_options()

    def _check_options(self) -> None:
        check_number(
            self,
            lambda value: 0 <= value < 1,
            'be a number of at least 0 and below 1',
            threshold=self.threshold,
        )
        check_whole(self, max_pixels=self.max_pixels)

    def __str__(self) -> str:
        """The rule, in words."""
        return f'{type(self).__name__}, IoU > {self.threshold}'

    def positives(
        self, anchors: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return all positive pixels (P,) and their instances (P,)."""
        return positive_pixels(anchors, boxes, self.threshold)

    def __call__(self, anchors: Tensor, boxes: Tensor) -> Samples:
        """Sample an image with anchors (L, A, 4) and ground truth (G, 4).

        Each sample has its object's own box.
        """
        pixels, instances = self.positives(anchors, boxes)
        if len(pixels) > self.max_pixels:
            chosen = _random_choice(pixels, self.max_pixels)
            pixels, instances = pixels[chosen], instances[chosen]
        return Samples(pixels, instances, boxes[instances])


@TASK_UTILS.register_module()
class EveryObjectPixelSampler(OverlapPixelSampler):
    """The paper's positive pixels, and the best pixel of every other object.

    Beyond the paper: many small objects have no anchor above the threshold
    and would never train a mask. The best pixel of an object has the anchor
    that overlaps it most. An object that overlaps no anchor trains none.
    """

    def positives(
        self, anchors: Tensor, boxes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the base class's pixels, then those of other objects."""
        return positive_and_best_pixels(anchors, boxes, self.threshold)


@TASK_UTILS.register_module()
class JitteredBoxSampler:
    """Train every object in boxes that imitate a detector's.

    Beyond the paper, for encoders that read boxes: each edge of a ground-truth
    box is shifted at random. This needs no predictions, and objects that fit
    no anchor train as well.

    Args:
        copies (int): Boxes of each object.
        max_boxes (int): Maximum number of boxes of an image. If there are
            more, a random choice trains.
        std (float): Standard deviation of an edge's shift, as a fraction of
            the box's side, see :func:`.boxes.jittered`.

    Raises:
        InputError: ``copies`` or ``max_boxes`` is below 1, or ``std`` is
            outside of [0, 0.25).
    """

    def __init__(
        self, copies: int = 1, max_boxes: int = 100, std: float = 0.08
    ) -> None:
        self.copies = copies
        self.max_boxes = max_boxes
        self.std = std
        self._check_options()

    def _check_options(self) -> None:
        check_whole(self, copies=self.copies, max_boxes=self.max_boxes)
        check_number(
            self,
            lambda value: 0 <= value < 0.25,
            'be a number of at least 0 and below 0.25',
            std=self.std,
        )

    def __call__(self, anchors: Tensor, boxes: Tensor) -> Samples:
        """Sample an image with anchors (L, A, 4) and ground truth (G, 4).

        Empty and NaN boxes have no samples. No pixels are chosen.
        """
        (usable,) = (
            (boxes[:, 2:] > boxes[:, :2]).all(dim=1).nonzero(as_tuple=True)
        )
        instances = usable.repeat(self.copies)
        if len(instances) > self.max_boxes:
            chosen = _random_choice(instances, self.max_boxes)
            instances = instances[chosen]
        return Samples(None, instances, jittered(boxes[instances], self.std))


def _random_choice(items: Tensor, count: int) -> Tensor:
    """Indices (count,) of randomly chosen items."""
    return torch.randperm(len(items), device=items.device)[:count]
