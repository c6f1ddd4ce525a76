"""COCO's run lengths of masks that never stand in an image."""

import numpy as np
from pycocotools import mask as coco_mask
from torch import Tensor

from .pasting import Patch, mask_patches


def _runs(patch: Patch, height: int) -> np.ndarray:
    """Where runs of a patch start and end, (k, 2), in an image whose pixels
    are counted column by column; a run ends with its column."""
    columns = patch.inside.T.cpu().numpy()
    edges = np.diff(columns, axis=1, prepend=False, append=False)
    column, row = edges.nonzero()
    places = (patch.left + column) * height + patch.top + row
    return places.reshape(-1, 2)


def _encode(runs: list[np.ndarray], height: int, width: int) -> dict:
    """COCO's RLE of runs in ascending order."""
    places = np.concatenate([np.zeros((0, 2), int), *runs])
    starts, ends = places.T
    # One that fills its column to the bottom may go on in the next.
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
    """COCO's RLE of what :func:`.pasting.paste_masks` gives, bit for bit.

    Args:
        As of :func:`.pasting.mask_patches`.

    Returns:
        n dicts of ``size``, [height, width], and ``counts``, compressed.
    """
    runs: list[list[np.ndarray]] = [[] for _ in boxes]
    for patch in mask_patches(probabilities, boxes, height, width, threshold):
        runs[patch.index].append(_runs(patch, height))
    return [_encode(one, height, width) for one in runs]
