"""COCO run lengths of masks: the ``mask_output`` RLEMasks."""

import time
from collections.abc import Sequence

import numpy as np
from mmdet.registry import TASK_UTILS
from pycocotools import mask as coco_mask
from torch import Tensor

from .pasting import ON_CPU_AT_ONCE, Window, mask_windows
from .structures import joined


def _runs(
    windows: Sequence[Window], height: int, threshold: float
) -> np.ndarray:
    """Where the runs of windows start and end.

    All windows are searched at once, since each call of NumPy takes longer
    than a small mask.

    Args:
        windows: In the order of their masks.
        height: Of the image.
        threshold: Least probability of a mask's pixel.

    Returns:
        (3, k) index of each run's mask, and its start and end. They count the
        image's pixels column by column. No run passes the end of its column.
    """
    sides = np.array([window.values.shape for window in windows])
    rows, columns = sides.T
    # A pixel outside of the mask follows each column, and precedes the first.
    sizes = columns * (rows + 1)
    begins = 1 + sizes.cumsum() - sizes
    pixels = np.zeros(1 + sizes.sum(), bool)
    for window, begin, size, wide in zip(windows, begins, sizes, columns):
        block = pixels[begin : begin + size].reshape(wide, -1)[:, :-1]
        np.greater_equal(window.values.T, threshold, out=block)
    edges = 1 + np.flatnonzero(pixels[1:] != pixels[:-1])
    counts = np.diff(edges.searchsorted(begins), append=len(edges))
    index, top, left = np.array([window[:3] for window in windows]).T
    table = np.stack([begins, rows + 1, left * height + top, index])
    begin, step, corner, index = table.repeat(counts, axis=1)
    column, row = np.divmod(edges - begin, step)
    edges = corner + column * height + row
    return np.stack([index[::2], edges[::2], edges[1::2]])


def _encode(
    runs: np.ndarray, count: int, height: int, width: int
) -> list[dict]:
    """COCO's RLE of ``count`` masks.

    Args:
        runs: (3, k) see :func:`_runs`; ascending.
    """
    index, starts, ends = runs
    # Join a run at the bottom of a column and one at the top of the next.
    apart = (starts[1:] != ends[:-1]) | (index[1:] != index[:-1])
    first = np.append(True, apart)[: len(index)]
    last = np.append(apart, True)[: len(index)]
    borders = np.stack([starts[first], ends[last]], axis=1)
    limits = index[first].searchsorted(np.arange(count + 1))
    size = height, width
    masks = []
    for start, end in zip(limits, limits[1:]):
        lengths = np.diff(
            borders[start:end].ravel(), prepend=0, append=height * width
        )
        if not lengths[-1] and len(lengths) > 1:
            lengths = lengths[:-1]
        masks.append(dict(size=size, counts=lengths))
    return coco_mask.frPyObjects(masks, height, width) if masks else []


@TASK_UTILS.register_module()
class RLEMasks:
    """COCO's run lengths, made without a dense image for each mask.

    They suit large images and evaluation: MMDetection's CocoMetric accepts
    them. Its visualizer does not, and its DetInferencer only when asked for
    data samples. On a CPU they are those of :class:`.pasting.DenseMasks`, bit
    for bit; a GPU rounds otherwise.

    Attributes:
        seconds (float): How long it has taken so far.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

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
        start = time.perf_counter()
        masks = [rle_masks(*part, threshold) for part in parts]
        self.seconds += time.perf_counter() - start
        return masks


def rle_masks(
    probabilities: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    threshold: float,
) -> list[dict]:
    """Encode the masks of one picture, see :func:`.pasting.mask_windows`."""
    runs = [np.zeros((3, 0), int)]
    waiting: list[Window] = []
    pixels = 0
    for window in mask_windows(probabilities, boxes, size):
        if pixels + window.values.size > ON_CPU_AT_ONCE and waiting:
            runs.append(_runs(waiting, size[0], threshold))
            waiting, pixels = [], 0
        waiting.append(window)
        pixels += window.values.size
    if waiting:
        runs.append(_runs(waiting, size[0], threshold))
    return _encode(np.concatenate(runs, axis=1), len(boxes), *size)
