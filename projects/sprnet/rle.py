"""COCO run lengths of masks: the ``mask_output`` RLEMasks."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from pycocotools import mask as coco_mask
from torch import Tensor

from .pasting import Windows, mask_windows

COPIED_AT_ONCE = 2**24  # pixels, bounds the memory of windows


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


def _batches(windows: Iterable[Windows]) -> Iterator[list[Windows]]:
    """Collect windows until they have ``COPIED_AT_ONCE`` pixels."""
    batch: list[Windows] = []
    pixels = 0
    for one in windows:
        batch.append(one)
        pixels += one.inside.numel()
        if pixels >= COPIED_AT_ONCE:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def _copied(batch: list[Windows]) -> Iterator[np.ndarray]:
    """Yield each (n, h, w) of some windows; a GPU waits once for all."""
    flat = torch.cat([windows.inside.flatten() for windows in batch]).cpu()
    for windows in batch:
        part, flat = flat.tensor_split([windows.inside.numel()])
        yield part.view(windows.inside.shape).numpy()


@TASK_UTILS.register_module()
class RLEMasks:
    """COCO's run lengths, made without a dense image for each mask.

    They suit large images and evaluation: MMDetection's CocoMetric accepts
    them. Its visualizer does not, and its DetInferencer only when asked for
    data samples. They are those of :class:`.pasting.DenseMasks`, bit for bit.
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
        return [
            rle_masks(part, *picture, threshold)
            for part, *picture in zip(
                probabilities.split([*map(len, boxes)]), boxes, sizes
            )
        ]


def rle_masks(
    probabilities: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    threshold: float,
) -> list[dict]:
    """Encode the masks of one picture, see :func:`.pasting.mask_windows`."""
    runs: list[list[np.ndarray]] = [[] for _ in range(len(boxes))]
    windows_of = mask_windows(probabilities, boxes, size, threshold)
    for batch in _batches(windows_of):
        for windows, inside in zip(batch, _copied(batch)):
            for index, top, left, mask in zip(
                windows.masks, windows.tops, windows.lefts, inside
            ):
                runs[index].append(_runs(mask, top, left, size[0]))
    return [_encode(mask_runs, *size) for mask_runs in runs]
