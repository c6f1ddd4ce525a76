"""Run a model on images that its config's own steps load."""

from collections.abc import Callable
from typing import Any

import numpy as np
from mmcv.transforms import Compose, LoadImageFromFile
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmengine.config import Config

from projects.sprnet.runtime.loading import as_picture, load_image

from .run_lengths import as_text


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

    def pred2dict(
        self, data_sample: DetDataSample, pred_out_dir: str = ''
    ) -> dict:
        """As DetInferencer's, and it takes masks that are run lengths.

        The run lengths are moved from the sample to the result.
        """
        instances = data_sample.pred_instances
        if not isinstance(instances.get('masks'), list):
            return super().pred2dict(data_sample, pred_out_dir)
        masks = instances.pop('masks')
        prediction = super().pred2dict(data_sample, pred_out_dir)
        return dict(prediction, masks=as_text(masks))

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
