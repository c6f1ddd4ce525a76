"""COCO run lengths of masks, made without dense images."""

import numpy as np
from pycocotools import mask as coco_mask
from torch import Tensor

from .pasting import Patch, mask_patches


def _runs(patch: Patch, height: int) -> np.ndarray:
    """Starts and ends of a patch's runs, (k, 2).

    They count the image's pixels column by column. No run passes the end of
    its column.
    """
    columns = patch.inside.T.cpu().numpy()
    edges = np.diff(columns, axis=1, prepend=False, append=False)
    column, row = edges.nonzero()
    return ((patch.left + column) * height + patch.top + row).reshape(-1, 2)


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


def rle_masks(
    probabilities: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float,
) -> list[dict]:
    """Encode the masks of :func:`.pasting.paste_masks`, bit for bit.

    Args:
        As for :func:`.pasting.mask_patches`.

    Returns:
        P dicts of ``size``, [height, width], and ``counts``, compressed.
    """
    runs: list[list[np.ndarray]] = [[] for _ in boxes]
    for patch in mask_patches(probabilities, boxes, height, width, threshold):
        runs[patch.index].append(_runs(patch, height))
    return [_encode(mask_runs, height, width) for mask_runs in runs]
