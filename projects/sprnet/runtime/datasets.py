import os
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from PIL import Image

# Loads as a mask of no pixel and an area of 0, as bitmap and as polygon
NO_MASK = [[0.0] * 6]


def is_inside(path: str, folder: str) -> bool:
    """Whether a path, its links not followed, leads into a folder."""
    folder, path = os.path.abspath(folder), os.path.abspath(path)
    return os.path.commonpath([folder, path]) == folder


@DATASETS.register_module()
class CheckedCocoDataset(CocoDataset):
    """A CocoDataset that trusts no JSON, and whose errors name the image.

    Objects without a segmentation are loaded with a mask of no pixel. An
    SPRHead trains none of them, and their boxes train as any other's.

    What training would meet only in some epoch's middle, all at once and with
    the remedy: ``tools/check_dataset.py``.

    Args:
        max_pixels (int): Images whose header says that they have more are
            not decoded.
        require_masks (bool): Refuse objects without a segmentation, for
            detectors that would learn an empty mask from them.
        kwargs: As of CocoDataset.

    Raises:
        ValueError: An image that lies outside of the data's folder,
            annotations that cannot be read, or one without a segmentation
            where masks are required.
        RuntimeError: When it is its turn, an image that cannot be loaded.
    """

    def __init__(
        self,
        *args,
        max_pixels: int = 100_000_000,
        require_masks: bool = False,
        **kwargs,
    ) -> None:
        self.max_pixels = max_pixels
        self.require_masks = require_masks
        super().__init__(*args, **kwargs)

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """As CocoDataset's; faults name the image."""
        image = raw_data_info['raw_img_info']
        try:
            info = super().parse_data_info(raw_data_info)
        except Exception as error:
            raise ValueError(
                f'{self.ann_file}, image {image["img_id"]}: its entry or an '
                f'annotation is not what COCO asks for: {error!r}'
            ) from error
        for instance in info['instances']:
            if 'mask' not in instance and self.require_masks:
                raise ValueError(
                    f'{self.ann_file}, image {image["img_id"]}: an object '
                    f'with the box {instance["bbox"]} (x1, y1, x2, y2) has no '
                    'segmentation, and require_masks=True'
                )
            instance.setdefault('mask', NO_MASK)
        folder = self.data_prefix['img']
        if '://' in image['file_name'] or not is_inside(
            info['img_path'], folder
        ):
            raise ValueError(
                f'{self.ann_file}, image {image["img_id"]}: file_name '
                f'{image["file_name"]!r} lies outside of {folder!r}'
            )
        return info

    def prepare_data(self, idx: int) -> Any:
        """As CocoDataset's; faults name the image."""
        info = self.get_data_info(idx)
        try:
            self._refuse_bombs(info['img_path'])
            return super().prepare_data(idx)
        except Exception as error:
            raise RuntimeError(
                f'{self.ann_file}, image {info["img_id"]}, '
                f'{info["img_path"]}: it or its annotations cannot be '
                f'loaded: {error!r}; tools/check_dataset.py finds all such '
                'faults'
            ) from error

    def _refuse_bombs(self, path: str) -> None:
        if not os.path.isfile(path):  # of another file backend
            return
        with Image.open(path) as image:  # reads the header only
            if image.width * image.height > self.max_pixels:
                raise ValueError(
                    f'{image.width} x {image.height} pixels are more than '
                    f'max_pixels={self.max_pixels}'
                )
