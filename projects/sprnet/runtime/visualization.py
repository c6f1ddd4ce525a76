"""Draw test images: as their pipeline loads them, and none over another."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import HOOKS, VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from torch.utils.data import Dataset

from .loading import as_picture, load_image, picture_path


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


@VISUALIZERS.register_module()
class FolderVisualizer(DetLocalVisualizer):
    """A DetLocalVisualizer that writes no picture over that of another image,
    and draws images of any format.

    ``browse_dataset.py`` and DetInferencer give pictures the names of their
    images, without folders. If two images have the same name, the second
    picture goes to a folder named like its image's folder.
    """

    def __init__(self, name: str = 'visualizer', **kwargs) -> None:
        super().__init__(name, **kwargs)
        self._images: dict[str, str] = {}  # by the file of their picture

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


def inner_datasets(dataset: Dataset) -> Iterator[BaseDataset]:
    """Yield the data sets inside a wrapper, or the data set itself."""
    wrapped = getattr(dataset, 'datasets', [getattr(dataset, 'dataset', None)])
    if wrapped == [None]:
        yield dataset
        return
    for inner in wrapped:
        yield from inner_datasets(inner)


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
