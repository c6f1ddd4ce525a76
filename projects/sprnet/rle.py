"""COCO run lengths of masks: the ``mask_output`` RLEMasks."""

import time
from collections.abc import Sequence

import numpy as np
from mmdet.registry import TASK_UTILS
from pycocotools import mask as coco_mask
from torch import Tensor

from .pasting import ON_CPU_AT_ONCE, Window, mask_windows
from .structures import joined


def _edges(windows: Sequence[Window], height: int) -> np.ndarray:
    """Where the runs of windows start and end.

    All windows are searched at once, since each call of NumPy takes longer
    than a small mask.

    Args:
        windows: In the order of their masks.
        height: Of the image.

    Returns:
        (3, k) index of each run's mask, and its start and end. They count the
        image's pixels column by column. No run passes the end of its column.
    """
    # A pixel outside of the mask follows each column, and precedes the first.
    columns = np.array([window.inside.shape[1] for window in windows])
    rows = np.array([window.inside.shape[0] + 1 for window in windows])
    ends = 1 + (columns * rows).cumsum()
    pixels = np.zeros(ends[-1], bool)
    for window, end, wide, high in zip(windows, ends, columns, rows):
        block = pixels[end - wide * high : end].reshape(wide, high)
        block[:, :-1] = window.inside.T
    edges = np.flatnonzero(pixels[1:] != pixels[:-1])
    of_edge = ends.searchsorted(edges + 1, side='right')
    column, row = np.divmod(
        edges - (ends - columns * rows - 1)[of_edge], rows[of_edge]
    )
    index, top, left = np.array([window[:3] for window in windows]).T
    edges = (left[of_edge] + column) * height + top[of_edge] + row
    return np.stack([index[of_edge[::2]], edges[::2], edges[1::2]])


def _encode(
    runs: np.ndarray, count: int, height: int, width: int
) -> list[dict]:
    """COCO's RLE of ``count`` masks.

    Args:
        runs: (3, k) see :func:`_edges`; ascending.
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
    for window in mask_windows(probabilities, boxes, size, threshold):
        if pixels + window.inside.size > ON_CPU_AT_ONCE and waiting:
            runs.append(_edges(waiting, size[0]))
            waiting, pixels = [], 0
        waiting.append(window)
        pixels += window.inside.size
    if waiting:
        runs.append(_edges(waiting, size[0]))
    return _encode(np.concatenate(runs, axis=1), len(boxes), *size)
