"""Instances that train masks: the mask head's ``sampler``.

Shape letters: see :mod:`.structures`; G, L and P are of one picture here.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from .boxes import jittered
from .locations import (
    Assignment,
    assign_locations,
    positive_and_best_locations,
    positive_locations,
)
from .options import check_number, check_whole


class Samples(NamedTuple):
    """The P instances of one picture that train masks."""

    objects: Tensor  # (P,) index of each one's ground-truth object
    locations: Tensor | None = None  # (P,) of the pyramid; None: not chosen
    boxes: Tensor | None = None  # (P, 4); None: the objects' own


class Sampler(ABC):
    """Choose the instances of a picture that train masks.

    Attributes:
        chooses_locations (bool): Whether it chooses them, for which it needs
            anchors; otherwise it makes boxes.
    """

    chooses_locations: bool

    @abstractmethod
    def __call__(self, boxes: Tensor, anchors: Tensor | None) -> Samples:
        """Sample a picture.

        Args:
            boxes: (G, 4) ground truth.
            anchors: (L, A, 4), if locations are chosen.
        """


@TASK_UTILS.register_module()
class OverlapLocationSampler(Sampler):
    """Sample the locations that train masks, sections 3.2 and 3.3.

    Args:
        threshold (float): A location is positive if one of its anchors has
            an IoU above this with a ground-truth box (Table 3d).
        max_locations (int): Maximum number of locations of a picture. If more
            are positive, a random choice trains.

    Raises:
        InputError: The threshold is outside of [0, 1), or ``max_locations`` is
            below 1.
    """

    chooses_locations = True

    def __init__(
        self, threshold: float = 0.7, max_locations: int = 300
    ) -> None:
        check_number(
            self,
            lambda value: 0 <= value < 1,
            'be a number of at least 0 and below 1',
            threshold=threshold,
        )
        check_whole(self, max_locations=max_locations)
        self.threshold = threshold
        self.max_locations = max_locations

    def __str__(self) -> str:
        """The rule, in words."""
        return f'{type(self).__name__}, IoU > {self.threshold}'

    def positives(self, assigned: Assignment) -> tuple[Tensor, Tensor]:
        """Return all positive locations (P,) and their objects (P,)."""
        return positive_locations(assigned, self.threshold)

    def __call__(self, boxes: Tensor, anchors: Tensor) -> Samples:
        """See :class:`Sampler`."""
        assigned = assign_locations(anchors, boxes)
        locations, objects = self.positives(assigned)
        if len(locations) > self.max_locations:
            chosen = _random_choice(locations, self.max_locations)
            locations, objects = locations[chosen], objects[chosen]
        return Samples(objects, locations=locations)


@TASK_UTILS.register_module()
class EveryObjectLocationSampler(OverlapLocationSampler):
    """The paper's positive locations, and the best one of every other object.

    Beyond the paper: many small objects have no anchor above the threshold
    and would never train a mask. The best location of an object has the anchor
    that overlaps it most. An object that overlaps no anchor trains none.
    """

    def positives(self, assigned: Assignment) -> tuple[Tensor, Tensor]:
        """Return the base class's locations, then those of other objects."""
        return positive_and_best_locations(assigned, self.threshold)


@TASK_UTILS.register_module()
class JitteredBoxSampler(Sampler):
    """Train every object in boxes that imitate a detector's.

    Beyond the paper, for encoders that read boxes: each edge of a ground-truth
    box is shifted at random. This needs no predictions and no anchors.

    Args:
        copies (int): Boxes of each object.
        max_boxes (int): Maximum number of boxes of a picture. If there are
            more, a random choice trains.
        std (float): Standard deviation of an edge's shift, as a fraction of
            the box's side, see :func:`.boxes.jittered`.

    Raises:
        InputError: ``copies`` or ``max_boxes`` is below 1, or ``std`` is
            outside of [0, 0.25).
    """

    chooses_locations = False

    def __init__(
        self, copies: int = 1, max_boxes: int = 100, std: float = 0.08
    ) -> None:
        check_whole(self, copies=copies, max_boxes=max_boxes)
        check_number(
            self,
            lambda value: 0 <= value < 0.25,
            'be a number of at least 0 and below 0.25',
            std=std,
        )
        self.copies = copies
        self.max_boxes = max_boxes
        self.std = std

    def __call__(self, boxes: Tensor, anchors: None = None) -> Samples:
        """See :class:`Sampler`. Empty and NaN boxes have no samples."""
        (usable,) = (
            (boxes[:, 2:] > boxes[:, :2]).all(dim=1).nonzero(as_tuple=True)
        )
        objects = usable.repeat(self.copies)
        if len(objects) > self.max_boxes:
            objects = objects[_random_choice(objects, self.max_boxes)]
        return Samples(objects, boxes=jittered(boxes[objects], self.std))


def _random_choice(items: Tensor, count: int) -> Tensor:
    """Indices (count,) of randomly chosen items."""
    return torch.randperm(len(items), device=items.device)[:count]
