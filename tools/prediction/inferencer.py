"""Run a model on images that its config's own steps load."""

from collections.abc import Callable
from typing import Any

import numpy as np
from mmcv.transforms import Compose, LoadImageFromFile
from mmdet.apis import DetInferencer
from mmengine.config import Config

from projects.sprnet.runtime.loading import as_picture, load_image


class FileInferencer(DetInferencer):
    """A DetInferencer for any test pipeline.

    DetInferencer replaces the step LoadImageFromFile by one that also takes
    arrays, and refuses a pipeline without that step. Here such a pipeline
    stays as it is, and takes files only.

    Attributes:
        takes_arrays (bool): Whether an array can be given for a file.
    """

    def _init_pipeline(self, cfg: Config) -> Callable:
        steps = cfg.test_dataloader.dataset.pipeline
        names = 'LoadImageFromFile', LoadImageFromFile
        self.takes_arrays = self._get_transform_idx(steps, names) >= 0
        return (
            super()._init_pipeline(cfg)
            if self.takes_arrays
            else Compose(steps)
        )

    def prepare(self, given: Any) -> tuple[np.ndarray, dict]:
        """Run the pipeline.

        Args:
            given: A frame, (H, W, 3) uint8 BGR, or a dict with ``img_path``.

        Returns:
            A picture of what was loaded, (H, W, 3) uint8 BGR, and the model's
            input.

        Raises:
            Exception: Whatever a step raises for a file that it cannot load.
        """
        results, rest = load_image(self.pipeline.transforms, given)
        picture = as_picture(results['img'])
        for step in rest:
            results = step(results)
        return picture, results
