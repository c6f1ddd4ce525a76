"""The models that are measured: random weights, one input, 100 instances."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import mmcv
import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.hub import get_config
from torch import nn

from .candidates import choose_threshold, test_settings

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'sprnet'
DEFAULT = {
    'RetinaNet': 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    'SPRNet-FPN': str(CONFIGS / 'sprnet_r50_fpn_1x_coco.py'),
    'SPRNet-GFPN': str(CONFIGS / 'sprnet_r50_gfpn_1x_coco.py'),
    'SPRNet-box': str(
        CONFIGS / 'plus' / 'sprnet_r50_gfpn_plus-box_1x_coco.py'
    ),
    'Mask R-CNN': 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    'PointRend': 'mmdet::point_rend/point-rend_r50-caffe_fpn_ms-1x_coco.py',
    'CondInst': 'mmdet::condinst/'
    'condinst_r50_fpn_ms-poly-90k_coco_instance.py',
    'SOLOv2': 'mmdet::solov2/solov2_r50_fpn_1x_coco.py',
    'YOLACT': 'mmdet::yolact/yolact_r50_1xb8-55e_coco.py',
}
MAIN = ('RetinaNet', 'SPRNet-FPN', 'SPRNet-GFPN', 'SPRNet-box', 'Mask R-CNN')
INSTANCES = 100
CANDIDATES = 3000
# SOLOv2 makes the masks of all of its candidates, so a trained one has no
# more of them than it keeps for its NMS.
FEWER_CANDIDATES = {'SOLOv2': 500}


class Subject(NamedTuple):
    """A model to measure."""

    name: str
    model: nn.Module
    device: torch.device
    context: Callable[[], AbstractContextManager] = (
        nullcontext  # of every prediction
    )

    def predict(self, inputs: dict) -> list[DetDataSample]:
        """Results of a batch, at the images' original size."""
        with torch.no_grad(), self.context():
            return self.model.test_step(inputs)


def read_config(path: str) -> Config:
    """A config file, or one of an installed package as ``mmdet::...``."""
    if '::' in path:
        return get_config(path)
    return Config.fromfile(path)


def without_weights(node: dict) -> None:
    """Take pre-trained weights, which would be downloaded, out of a config."""
    for key, value in list(node.items()):
        if key == 'init_cfg' and (value or {}).get('type') == 'Pretrained':
            node[key] = None
        elif isinstance(value, dict):
            without_weights(value)


def build(config: Config, device: torch.device) -> nn.Module:
    """A config's model with random weights of a fixed seed."""
    register_all_modules(init_default_scope=True)
    without_weights(config.model)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    logging.disable()  # a page for every weight
    model.init_weights()
    logging.disable(logging.NOTSET)
    return model.to(device).eval()


def picture(height: int, width: int) -> np.ndarray:
    """A fixed picture of soft colours, (height, width, 3) uint8."""
    coarse = np.random.default_rng(0).uniform(0, 255, (20, 30, 3))
    fine = mmcv.imresize(
        coarse.astype(np.float32), (width, height), interpolation='bicubic'
    )
    return fine.clip(0, 255).astype(np.uint8)


def pipeline(short_side: int, long_side: int) -> Compose:
    """From a picture to a model's input, as on COCO."""
    return Compose(
        [
            dict(type='mmdet.LoadImageFromNDArray'),
            dict(
                type='mmdet.Resize',
                scale=(long_side, short_side),
                keep_ratio=True,
            ),
            dict(
                type='mmdet.PackDetInputs',
                meta_keys=(
                    'img_id',
                    'ori_shape',
                    'img_shape',
                    'scale_factor',
                ),
            ),
        ]
    )


def test_batch(
    image: np.ndarray, size: tuple[int, int], batch: int = 1
) -> dict[str, list]:
    """``batch`` times the picture, resized to (short, long) side at most."""
    packed = pipeline(*size)(dict(img=image, img_id=0))
    return dict(
        inputs=[packed['inputs']] * batch,
        data_samples=[packed['data_samples']] * batch,
    )


def prepare(
    subject: Subject, image: np.ndarray, size: tuple[int, int]
) -> None:
    """Make a model return ``INSTANCES`` instances of ``image``.

    Raises:
        ValueError: It returns another number of them.
    """
    inputs = test_batch(image, size)
    for settings in test_settings(subject.model):
        settings['max_per_img'] = INSTANCES
        if 'filter_thr' in settings:  # SOLOv2's second threshold
            settings['filter_thr'] = 0
    candidates = FEWER_CANDIDATES.get(subject.name, CANDIDATES)
    choose_threshold(
        subject.model, lambda: subject.predict(inputs), candidates
    )
    found = len(subject.predict(inputs)[0].pred_instances)
    if found != INSTANCES:
        raise ValueError(
            f'{subject.name} returns {found} instances, not {INSTANCES}, of '
            f'{candidates} candidates'
        )
