import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.registry import DATASETS
from PIL import Image

from ..errors import InputError
from .image_guard import is_inside, pillow_limit, refuse_huge

# Loads as a mask of no pixel and an area of 0, as bitmap and as polygon
NO_MASK = [[0.0] * 6]


class CheckedCOCO(COCO):
    """A COCO JSON whose categories are the classes of the config."""

    def __init__(self, annotation_file=None) -> None:
        self.file = annotation_file
        try:
            with redirect_stdout(None):  # pycocotools prints its steps
                super().__init__(annotation_file)
        except (AssertionError, ValueError) as error:
            raise InputError(
                f'{annotation_file} is not a COCO JSON: {error}'
            ) from error

    def get_cat_ids(self, cat_names=(), sup_names=(), cat_ids=()) -> list[int]:
        """Return the ids of categories.

        Raises:
            InputError: A name has no category, or their order differs.
                MMDetection would number the labels in the JSON's order.
        """
        ids = super().get_cat_ids(cat_names, sup_names, cat_ids)
        found = [one['name'] for one in self.load_cats(ids)]
        if cat_names and found != list(cat_names):
            every = [c['name'] for c in self.dataset.get('categories', [])]
            raise InputError(
                f'{self.file}: metainfo.classes={tuple(cat_names)} must be '
                f'categories of the JSON, in its order: {tuple(every)}'
            )
        return ids


@DATASETS.register_module()
class CheckedCocoDataset(CocoDataset):
    """A CocoDataset that does not trust its JSON and names the bad image.

    An object without a segmentation gets a mask of no pixel. An SPRHead
    trains no mask for it; its box trains like any other.

    Most of the errors below come up only when an image is loaded.
    ``tools/check_dataset.py`` lists all of them before training.

    Args:
        max_pixels (int): An image whose header claims more pixels is not
            decoded. Formats that Pillow does not know are not checked.
        require_masks (bool): Refuse objects without a segmentation, for
            detectors that would learn an empty mask from them.
        kwargs: See CocoDataset.

    Raises:
        InputError: The JSON cannot be read, an image is outside of the image
            folder, an annotation is malformed, or one has no segmentation
            although masks are required; or, when it is loaded, an image or its
            mask is damaged.
        RuntimeError: A later step of the pipeline fails.
    """

    COCOAPI = CheckedCOCO

    def __init__(
        self,
        *args,
        max_pixels: int = 100_000_000,
        require_masks: bool = False,
        **kwargs,
    ) -> None:
        self.max_pixels = max_pixels
        self.require_masks = require_masks
        self.flat = 0  # objects without an area
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Load the JSON.

        Raises:
            InputError: The classes of the config are not those of the JSON.
        """
        check_metainfo(self.ann_file, self.metainfo)
        return super().load_data_list()

    def filter_data(self) -> list[dict]:
        """Filter the images.

        Raises:
            InputError: None is left, or none with an object that trains.
        """
        kept = super().filter_data()
        if not kept:
            raise InputError(
                f'{self.ann_file}: none of its {len(self.data_list)} images '
                f'has an object of the classes {self.metainfo["classes"]}, or '
                f'filter_cfg={self.filter_cfg} leaves it out'
            )
        flat = self.flat and not any(info['instances'] for info in kept)
        if flat and not self.test_mode:
            raise InputError(
                f'{self.ann_file}: all {self.flat} objects have area=0, '
                'with which MMDetection leaves them out; write the area of '
                'their masks, as tools/to_coco.py does'
            )
        return kept

    def parse_data_info(self, raw_data_info: dict) -> dict:
        """Parse an image's entry and annotations; errors name the image."""
        image = raw_data_info['raw_img_info']
        where = f'{self.ann_file}, image {image["img_id"]}'
        try:
            info = super().parse_data_info(raw_data_info)
        except Exception as error:
            raise InputError(
                f'{where}: its entry or one of its annotations is not in '
                f'COCO format: {error!r}'
            ) from error
        annotations = raw_data_info['raw_ann_info']
        self.flat += sum(one.get('area') == 0 for one in annotations)
        for instance in info['instances']:
            if 'mask' not in instance and self.require_masks:
                raise InputError(
                    f'{where}: the object with the box {instance["bbox"]} '
                    '(x1, y1, x2, y2) has no segmentation, but '
                    'require_masks=True'
                )
            instance.setdefault('mask', NO_MASK)
        folder = self.data_prefix['img']
        if not is_inside(image['file_name'], folder):
            raise InputError(
                f'{where}: file_name {image["file_name"]!r} is outside of '
                f'{folder!r}'
            )
        return info

    def prepare_data(self, idx: int) -> Any:
        """Load an image and its annotations; errors name the image."""
        data = self.get_data_info(idx)
        path = data['img_path']
        where = f'{self.ann_file}, image {data["img_id"]}, {path}'
        # A subclass may give several files, for an image's channels.
        for file in [path] if isinstance(path, str) else path:
            if os.path.isfile(file):  # not so on remote file backends
                try:
                    refuse_huge(file, self.max_pixels)
                except Image.DecompressionBombError as error:
                    raise InputError(f'{where}: {error}') from error
        with pillow_limit(self.max_pixels):
            for step in self.pipeline.transforms:
                data = apply(step, data, where)
                if data is None:
                    break
        return data


def inner_datasets(dataset: Any) -> Iterator[Any]:
    """Yield the data sets inside a wrapper, or the data set itself.

    Args:
        dataset: A data set, or the config of one.
    """
    wrapped = getattr(dataset, 'datasets', [getattr(dataset, 'dataset', None)])
    if wrapped == [None]:
        yield dataset
        return
    for inner in wrapped:
        yield from inner_datasets(inner)


def check_metainfo(file: str, metainfo: Mapping) -> None:
    """Check the classes of a data set.

    Raises:
        InputError: They have a name that MMDetection ignores, or are text,
            whose letters it would take for classes.
    """
    classes = metainfo['classes']
    if 'CLASSES' in metainfo:
        raise InputError(
            f'{file}: metainfo has CLASSES={metainfo["CLASSES"]!r}; write '
            'classes, in small letters'
        )
    if isinstance(classes, str):
        raise InputError(
            f'{file}: metainfo has classes={classes!r}; write a single class '
            f'as classes=({classes!r},)'
        )


def apply(step: Callable, data: dict, where: str) -> dict | None:
    """Run a step of a pipeline.

    Args:
        step: The transform.
        data: What it takes.
        where: Names the image.

    Raises:
        InputError: The step loads the image or its annotations, and cannot.
        RuntimeError: Another step fails, which may be a bug.
    """
    try:
        return step(data)
    except Exception as error:
        name = type(step).__name__
        sentence = f'{where}: {name} fails with {error!r}'
        if name.startswith('Load'):
            raise InputError(
                f'{sentence}; tools/check_dataset.py lists all such faults'
            ) from error
        raise RuntimeError(sentence) from error
