"""Steps of pipelines that load images in ways of their own."""

from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadNumpy(BaseTransform):
    """Load an array that NumPy saved."""

    def transform(self, results):
        image = np.load(results['img_path'])
        size = image.shape[:2]
        return dict(results, img=image, img_shape=size, ori_shape=size)


@TRANSFORMS.register_module()
class ChannelFiles(BaseTransform):
    """Name the files of an image's channels, for mmdet's
    LoadMultiChannelImageFromFiles."""

    def transform(self, results):
        path = Path(results['img_path'])
        files = sorted(path.parent.glob(f'{path.stem}_*.png'))
        return dict(results, img_path=list(map(str, files)))
