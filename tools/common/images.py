"""Images of data sets and of folders."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from mmdet.datasets.transforms import LoadAnnotations
from mmengine.dataset import BaseDataset
from mmengine.structures import InstanceData


def select(
    dataset: BaseDataset, image_ids: Sequence[int], number: int
) -> list[int]:
    """Find the images that --image-ids and --number name.

    Returns:
        Indices into the data set.

    Raises:
        ValueError: The data set does not have an image id.
    """
    if not image_ids:
        return list(range(min(number, len(dataset))))
    index = {
        dataset.get_data_info(i)['img_id']: i for i in range(len(dataset))
    }
    unknown = [i for i in image_ids if i not in index]
    if unknown:
        raise ValueError(
            f'no image {", ".join(map(str, unknown))} in {dataset.ann_file}, '
            'or the config filters it out'
        )
    return [index[i] for i in image_ids]


def ground_truth(info: dict, size: tuple[int, int]) -> InstanceData:
    """Load an image's annotated objects, without crowds.

    Args:
        info: what the data set says of the image.
        size: height and width of the image.

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

    Raises:
        ValueError: There are none.
    """
    found = sorted(
        p for p in folder.iterdir() if p.suffix.lower() in IMG_EXTENSIONS
    )
    if not found:
        raise ValueError(f'{folder} has no images')
    return found


def image_files(paths: Sequence[Path]) -> list[Path]:
    """List images and the images of folders.

    Raises:
        ValueError: A folder without images, or two images whose results would
            have the same name.
    """
    files: list[Path] = []
    for path in paths:
        files += folder_images(path) if path.is_dir() else [path]
    by_name: dict[str, Path] = {}
    for file in files:
        other = by_name.setdefault(file.stem, file)
        if other is not file:
            raise ValueError(
                f'{other} and {file} would be written to the same name; '
                'give them an --out-dir each'
            )
    return files


def readable(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Split files into images and those that cannot be read as one."""
    good: list[Path] = []
    bad: list[Path] = []
    for file in files:
        try:
            image: np.ndarray | None = mmcv.imread(file)
        except cv2.error:  # an empty file
            image = None
        (bad if image is None else good).append(file)
    return good, bad
