"""Draw test images: as their pipeline loads them, and none over another."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import HOOKS, VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmdet.visualization import DetLocalVisualizer, get_palette
from mmdet.visualization.palette import _get_adaptive_scales
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import Tensor

from ..errors import InputError
from .datasets import inner_datasets
from .drawing import (
    draw_boxes,
    draw_masks,
    enlargement,
    free_places,
    instance_colours,
    mask_boxes,
    text_size,
)
from .loading import as_picture, load_image, picture_path

LABELS = ('auto', 'always', 'never')
TEXT_BOX = [dict(facecolor='black', alpha=0.6, pad=0.7, edgecolor='none')]


@HOOKS.register_module()
class FolderVisualizationHook(DetVisualizationHook):
    """A DetVisualizationHook for images in folders and of any format.

    ``test.py --show-dir`` keeps the path of each image below the folder of the
    test set. mmdet's hook writes all pictures into one folder, where one of
    two images with the same name is lost. It also needs files that OpenCV
    reads; this one loads an image with the steps of the test pipeline.
    """

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict,
        outputs: Sequence[DetDataSample],
    ) -> None:
        """Draw the images of a batch."""
        if not self.draw:
            return
        datasets = list(inner_datasets(runner.test_dataloader.dataset))
        for sample in outputs:
            self._test_index += 1
            path = sample.img_path
            steps = datasets[0].pipeline.transforms
            given = dict(img_path=path, img_id=sample.get('img_id'))
            picture = as_picture(load_image(steps, given)[0]['img'])
            if not isinstance(path, str):
                path = path[0]  # of the files of an image's channels
            out_file = None
            if self.test_out_dir is not None:
                out_file = os.path.join(
                    runner.work_dir,
                    runner.timestamp,
                    self.test_out_dir,
                    picture_path(below(path, datasets)),
                )
            self._visualizer.add_datasample(
                os.path.basename(path) if self.show else 'test_img',
                picture[..., ::-1],
                sample,
                show=self.show,
                wait_time=self.wait_time,
                pred_score_thr=self.score_thr,
                out_file=out_file,
                step=self._test_index,
            )

    def after_test_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Say where the pictures are."""
        if self.draw and self.test_out_dir is not None:
            folder = os.path.join(runner.work_dir, runner.timestamp)
            runner.logger.info(
                'ground truth (left) and predictions are drawn to '
                f'{os.path.join(folder, self.test_out_dir)}'
            )


@VISUALIZERS.register_module()
class FolderVisualizer(DetLocalVisualizer):
    """A DetLocalVisualizer for many small objects and for images of any
    format, which writes no picture over that of another image.

    Every instance has a colour of its own, and an outline that is thinner
    around a small one. Boxes are drawn of objects without a mask only.

    ``browse_dataset.py`` and DetInferencer give pictures the names of their
    images, without folders. If two images have the same name, the second
    picture goes to a folder named like its image's folder.

    Args:
        name: Of the instance, see mmengine's Visualizer.
        labels: 'always', 'never', or 'auto': where a label fits into its
            object, hides no other one, and says more than the only class.
        line_width: Width of all outlines, in pixels; None fits it to each
            object.
        alpha: Opacity of the masks, 0..1.
        **kwargs: DetLocalVisualizer's. ``mask_color`` or else ``bbox_color``
            is the colour of all instances.

    Raises:
        InputError: ``labels`` is none of these.
    """

    def __init__(
        self,
        name: str = 'visualizer',
        labels: str = 'auto',
        line_width: float | None = None,
        alpha: float = 0.4,
        **kwargs,
    ) -> None:
        if labels not in LABELS:
            raise InputError(
                f'visualizer.labels={labels!r} is none of {", ".join(LABELS)}'
            )
        super().__init__(name, line_width=line_width, alpha=alpha, **kwargs)
        self.labels = labels
        self._images: dict[str, str] = {}  # by the file of their picture

    def _draw_instances(
        self,
        image: np.ndarray,
        instances: InstanceData,
        classes: Sequence[str] | None,
        palette: Sequence[tuple] | None,
    ) -> np.ndarray:
        """Draw instances, see DetLocalVisualizer."""
        count = len(instances)
        colours = instance_colours(count)
        if fixed := self.mask_color or self.bbox_color:
            colours = np.array(get_palette(fixed, count)[:count])
        boxes = np.zeros((count, 4))
        if 'bboxes' in instances:
            boxes = get_box_tensor(instances.bboxes).cpu().numpy().copy()
        masked = np.zeros(count, bool)
        if 'masks' in instances and count:
            masks = as_array(instances.masks)
            masked = masks.any(axis=(1, 2))
            boxes[masked] = mask_boxes(masks[masked])
            image = draw_masks(
                image, masks, colours, self.alpha, self.line_width
            )
        shown = ~masked
        image = draw_boxes(
            image, boxes[shown], colours[shown], self.line_width
        )
        self.set_image(image)
        telling = 'scores' in instances or len(classes or ()) != 1
        if count and (
            self.labels == 'always' or (self.labels == 'auto' and telling)
        ):
            self._draw_labels(instances, boxes, classes)
        return self.get_image()

    def _draw_labels(
        self,
        instances: InstanceData,
        boxes: np.ndarray,
        classes: Sequence[str] | None,
    ) -> None:
        """Draw each instance's class and score into its box, (n, 4)."""
        texts = label_texts(instances, classes)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        larger = enlargement((self.height, self.width))
        points = (13 * larger * _get_adaptive_scales(areas)).astype(int)
        if self.labels == 'always':
            places = [tuple(corner) for corner in boxes[:, :2]]
        else:
            sizes = [
                text_size(text, int(size), self.dpi)
                for text, size in zip(texts, points)
            ]
            scores = instances.get('scores', torch.from_numpy(areas))
            places = free_places(boxes, np.array(sizes), scores.cpu().numpy())
        for text, place, size in zip(texts, places, points):
            if place:
                self.draw_texts(
                    text,
                    np.array(place) + 1,
                    colors=self.text_color,
                    font_sizes=int(size),
                    bboxes=TEXT_BOX,
                )

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: DetDataSample | None = None,
        *args,
        out_file: str | None = None,
        **kwargs,
    ) -> None:
        """Draw an image and its objects, see DetLocalVisualizer."""
        path = data_sample.get('img_path') if data_sample else None
        if out_file and isinstance(path, str):
            out_file = self._own_file(out_file, os.path.abspath(path))
            out_file = str(picture_path(Path(out_file)))
        # Larger floats may be distorted colours, which mmdet clips to 255.
        if image.dtype.kind != 'f' or image.max() <= 1:
            image = as_picture(image)
        super().add_datasample(
            name, image, data_sample, *args, out_file=out_file, **kwargs
        )

    def _own_file(self, out_file: str, image: str) -> str:
        """Put folders of the image before the picture's name until no other
        image has that file."""
        folder, name = os.path.split(out_file)
        for parent in Path(image).parents:
            if self._images.setdefault(out_file, image) == image:
                break
            name = os.path.join(parent.name, name)
            out_file = os.path.join(folder, name)
        return out_file


def label_texts(
    instances: InstanceData, classes: Sequence[str] | None
) -> list[str]:
    """The class of each instance, and its score in percent if it has one."""
    names = instances.get('label_names') or [
        classes[label] if classes is not None else f'class {label}'
        for label in instances.labels.tolist()
    ]
    if 'scores' not in instances:
        return list(names)
    scores = (100 * instances.scores).tolist()
    return [f'{name}: {score:.1f}' for name, score in zip(names, scores)]


def as_array(masks: Tensor | BitmapMasks | PolygonMasks) -> np.ndarray:
    """Masks as (n, H, W) bool."""
    if isinstance(masks, (BitmapMasks, PolygonMasks)):
        masks = masks.to_ndarray()
    return np.asarray(masks).astype(bool)


def below(path: str, datasets: Sequence[BaseDataset]) -> Path:
    """Return a file's path below the folder that holds all images.

    Of a file elsewhere it is the whole path, without the root.
    """
    folder = os.path.commonpath(
        [os.path.abspath(one.data_prefix.get('img', '')) for one in datasets]
    )
    file = Path(os.path.abspath(path))
    return file.relative_to(
        folder if file.is_relative_to(folder) else file.anchor
    )
