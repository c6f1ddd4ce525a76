"""Find and read images of data sets and folders."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmdet.datasets.transforms import LoadAnnotations
from mmengine.dataset import BaseDataset
from mmengine.structures import InstanceData

from projects.sprnet.errors import InputError
from projects.sprnet.runtime.image_guard import find_truncation

from .files import PICTURES, files_below


def select(
    dataset: BaseDataset, image_ids: Sequence[int], number: int
) -> list[int]:
    """Find the images that --image-ids or else --number name.

    Returns:
        Indices into the data set.

    Raises:
        InputError: An image id is not in the data set.
    """
    if not image_ids:
        return list(range(min(number, len(dataset))))
    index = {
        dataset.get_data_info(i)['img_id']: i for i in range(len(dataset))
    }
    unknown = [i for i in image_ids if i not in index]
    if unknown:
        raise InputError(
            f'--image-ids: {dataset.ann_file} has no image '
            f'{", ".join(map(str, unknown))}, or the config filters it out'
        )
    return [index[i] for i in image_ids]


def ground_truth(info: dict, size: tuple[int, int]) -> InstanceData:
    """Load the annotated objects of an image, without crowds.

    Args:
        info: The image's entry, from the data set's ``get_data_info``.
        size: Height and width of the image.

    Returns:
        ``labels`` (G,), ``bboxes`` (G, 4) and ``masks`` (G, H, W) bool.
    """
    load = LoadAnnotations(with_mask=True)
    loaded = load(dict(info, ori_shape=size))
    objects = InstanceData(
        labels=torch.from_numpy(loaded['gt_bboxes_labels']),
        bboxes=loaded['gt_bboxes'].tensor,
        masks=torch.from_numpy(loaded['gt_masks'].masks.astype(bool)),
    )
    return objects[torch.from_numpy(~loaded['gt_ignore_flags'])]


def folder_images(folder: Path) -> list[Path]:
    """List the images of a folder that MMDetection's DetInferencer reads.

    Results of earlier commands below the folder are left out.

    Raises:
        InputError: The folder has none.
    """
    images = files_below(folder, PICTURES)
    if not images:
        raise InputError(
            f'{folder} has no images ({", ".join(PICTURES)}); name '
            'files with other endings one by one'
        )
    return images


def image_files(paths: Sequence[Path]) -> list[Path]:
    """List the images that paths of images and folders name.

    Raises:
        InputError: A folder has no images, or the results of two images would
            have the same name.
    """
    files: list[Path] = []
    for path in paths:
        files += folder_images(path) if path.is_dir() else [path]
    by_name: dict[str, Path] = {}
    for file in files:
        other = by_name.setdefault(file.stem, file)
        if other is not file:
            raise InputError(
                f'{other} and {file} would be written under the same name; '
                'run the command twice, with two values of --out-dir'
            )
    return files


def readable(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Split files into readable images and the rest."""
    good: list[Path] = []
    bad: list[Path] = []
    for file in files:
        try:
            image: np.ndarray | None = mmcv.imread(file)
        except cv2.error:  # an empty file
            image = None
        whole = image is not None and not find_truncation(file)
        (good if whole else bad).append(file)
    return good, bad
