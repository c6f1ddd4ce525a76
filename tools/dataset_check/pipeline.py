"""Whether the training pipeline works, and keeps the masks with the boxes."""

import io
from contextlib import redirect_stdout

import numpy as np
from mmdet.registry import DATASETS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData

from projects.sprnet.errors import InputError
from projects.sprnet.mask_targets import check_masks

SAMPLES = 8  # of the training set
# Of a box and the box around its mask. A rotation lowers it to 0.5.
LEAST_IOU = 0.4


def check_pipeline(dataset: ConfigDict) -> None:
    """Load some training images as the training does.

    Args:
        dataset: The training set's config, with its wrappers.

    Raises:
        InputError: The pipeline fails, or leaves masks behind.
    """
    with redirect_stdout(io.StringIO()):  # of pycocotools
        built = DATASETS.build(dataset)
    kept: list[bool] = []
    for index in range(min(SAMPLES, len(built))):
        try:
            sample = built[index]['data_samples']
        except InputError:
            raise
        except Exception as error:  # of any type, from any step
            raise InputError(
                f'train_dataloader: the pipeline fails with {error!r}; steps '
                'such as Mosaic and MixUp leave masks behind'
            ) from error
        check_masks(sample.gt_instances, sample.metainfo)
        kept += keeps_masks(sample.gt_instances).tolist()
    if kept.count(False) > len(kept) / 2:
        raise InputError(
            f'train_dataloader: after the pipeline {kept.count(False)} of '
            f'{len(kept)} masks are not in their boxes; a step, such as '
            'RandomShift, moves boxes without masks'
        )


def keeps_masks(gt: InstanceData) -> np.ndarray:
    """Tell of each object that has a mask whether its box is around it."""
    outer = gt.masks.get_bboxes('hbox').tensor
    overlaps = bbox_overlaps(gt.bboxes.tensor, outer, is_aligned=True)
    return overlaps.numpy()[gt.masks.areas > 0] >= LEAST_IOU
