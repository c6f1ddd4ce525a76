"""COCO run lengths of masks: the ``mask_output`` RLEMasks."""

from collections.abc import Sequence

import numpy as np
from mmdet.registry import TASK_UTILS
from pycocotools import mask as coco_mask
from torch import Tensor

from .pasting import mask_windows
from .structures import joined


def _runs(inside: np.ndarray, top: int, left: int, height: int) -> np.ndarray:
    """Starts and ends of a window's runs, (k, 2).

    They count the image's pixels column by column. No run passes the end of
    its column.
    """
    edges = np.diff(inside.T, axis=1, prepend=False, append=False)
    column, row = edges.nonzero()
    return ((left + column) * height + top + row).reshape(-1, 2)


def _encode(runs: list[np.ndarray], height: int, width: int) -> dict:
    """COCO's RLE of runs in ascending order."""
    starts, ends = np.concatenate([np.zeros((0, 2), int), *runs]).T
    # Join a run at the bottom of a column and one at the top of the next.
    apart = starts[1:] != ends[:-1]
    starts = starts[np.append(True, apart)[: len(starts)]]
    ends = ends[np.append(apart, True)[: len(ends)]]
    stops = np.stack([starts, ends], 1).ravel()
    counts = np.diff(stops, prepend=0, append=height * width)
    if not counts[-1] and len(counts) > 1:
        counts = counts[:-1]
    return coco_mask.frPyObjects(
        dict(size=[height, width], counts=counts), height, width
    )


@TASK_UTILS.register_module()
class RLEMasks:
    """COCO's run lengths, made without a dense image for each mask.

    They suit large images and evaluation: MMDetection's CocoMetric accepts
    them. Its visualizer does not, and its DetInferencer only when asked for
    data samples. On a CPU they are those of :class:`.pasting.DenseMasks`, bit
    for bit; a GPU rounds otherwise.
    """

    def __call__(
        self,
        probabilities: Tensor,
        boxes: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
        threshold: float,
    ) -> list[list[dict]]:
        """Encode masks.

        Args:
            As for :class:`.pasting.DenseMasks`.

        Returns:
            For each picture P_n dicts of ``size``, [height, width], and
            ``counts``, compressed.
        """
        counts = [*map(len, boxes)]
        # A GPU hands over some kilobytes of cells, instead of images.
        parts = zip(
            probabilities.cpu().split(counts),
            joined(boxes).cpu().split(counts),
            sizes,
        )
        return [rle_masks(*part, threshold) for part in parts]


def rle_masks(
    probabilities: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    threshold: float,
) -> list[dict]:
    """Encode the masks of one picture, see :func:`.pasting.mask_windows`."""
    runs: list[list[np.ndarray]] = [[] for _ in range(len(boxes))]
    for index, top, left, inside in mask_windows(
        probabilities, boxes, size, threshold
    ):
        runs[index].append(_runs(inside.numpy(), top, left, size[0]))
    return [_encode(mask_runs, *size) for mask_runs in runs]
