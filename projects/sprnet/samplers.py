from typing import Tuple

import torch
from mmdet.registry import TASK_UTILS
from torch import Tensor

from .options import check_number, check_whole
from .pixels import best_pixels, positive_pixels


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

    def positives(
        self, anchors: Tensor, boxes: Tensor
    ) -> Tuple[Tensor, Tensor]:
        """All candidates: pixels (P,) and instances (P,), of any number."""
        return positive_pixels(anchors, boxes, self.threshold)

    def __call__(
        self, anchors: Tensor, boxes: Tensor
    ) -> Tuple[Tensor, Tensor]:
        """Anchors (L, A, 4) and boxes (G, 4) of one image to pixels (P,) and
        the instance of each (P,), P <= max_pixels."""
        pixels, instances = self.positives(anchors, boxes)
        if len(pixels) > self.max_pixels:
            chosen = torch.randperm(len(pixels), device=pixels.device)[
                : self.max_pixels
            ]
            pixels, instances = pixels[chosen], instances[chosen]
        return pixels, instances


@TASK_UTILS.register_module()
class EveryObjectPixelSampler(OverlapPixelSampler):
    """The paper's positive pixels, and for an object that has none the pixel
    whose anchor overlaps it most; none for an object that overlaps no anchor.

    Beyond the paper: many small objects have no anchor above the threshold and
    would never train a mask.
    """

    def positives(
        self, anchors: Tensor, boxes: Tensor
    ) -> Tuple[Tensor, Tensor]:
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
