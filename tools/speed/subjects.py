"""The models to measure: random weights, one input, 100 instances."""

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

from projects.sprnet.errors import InputError

from .candidates import choose_threshold, test_settings

CONFIGS = Path(__file__).resolve().parents[2] / 'configs' / 'sprnet'
DEFAULT = {
    'RetinaNet': 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py',
    'SPRNet-FPN': str(CONFIGS / 'sprnet_r50_fpn_1x_coco.py'),
    'SPRNet-GFPN': str(CONFIGS / 'sprnet_r50_gfpn_1x_coco.py'),
    'SPRNet-light': str(
        CONFIGS / 'light' / 'sprnet_r50_gfpn_light_1x_coco.py'
    ),
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
# SOLOv2 makes the masks of all its candidates. When trained it has at most the
# 500 that it keeps for its NMS.
FEWER_CANDIDATES = {'SOLOv2': 500}


class Subject(NamedTuple):
    """A model to measure.

    ``context`` makes the context manager of each prediction.
    """

    name: str
    model: nn.Module
    device: torch.device
    context: Callable[[], AbstractContextManager] = nullcontext

    def predict(self, inputs: dict) -> list[DetDataSample]:
        """Predict a batch; results have the images' original size."""
        with torch.no_grad(), self.context():
            return self.model.test_step(inputs)


def read_config(path: str) -> Config:
    """Read a config file, or ``mmdet::PATH`` of the installed package."""
    return get_config(path) if '::' in path else Config.fromfile(path)


def remove_pretrained(node: dict) -> None:
    """Remove pre-trained weights, which would be downloaded, from a config."""
    for key, value in node.items():
        if key == 'init_cfg' and (value or {}).get('type') == 'Pretrained':
            node[key] = None
        elif isinstance(value, dict):
            remove_pretrained(value)


def build(config: Config, device: torch.device) -> nn.Module:
    """Build a config's model with random weights from a fixed seed."""
    register_all_modules(init_default_scope=True)
    remove_pretrained(config.model)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    logging.disable()  # init_weights logs every weight
    model.init_weights()
    logging.disable(logging.NOTSET)
    return model.to(device).eval()


def picture(height: int, width: int) -> np.ndarray:
    """A fixed picture of smooth colours, (height, width, 3) uint8."""
    coarse = np.random.default_rng(0).uniform(0, 255, (20, 30, 3))
    fine = mmcv.imresize(
        coarse.astype(np.float32), (width, height), interpolation='bicubic'
    )
    return fine.clip(0, 255).astype(np.uint8)


def test_batch(
    image: np.ndarray, size: tuple[int, int], batch: int = 1
) -> dict[str, list]:
    """A batch that repeats a picture, resized as on COCO.

    Args:
        image: the picture, (height, width, 3) uint8.
        size: largest short side and largest long side of the input.
        batch: number of images.
    """
    keys = ('img_id', 'ori_shape', 'img_shape', 'scale_factor')
    pipeline = Compose(
        [
            dict(type='mmdet.LoadImageFromNDArray'),
            dict(type='mmdet.Resize', scale=size[::-1], keep_ratio=True),
            dict(type='mmdet.PackDetInputs', meta_keys=keys),
        ]
    )
    packed = pipeline(dict(img=image, img_id=0))
    return dict(
        inputs=[packed['inputs']] * batch,
        data_samples=[packed['data_samples']] * batch,
    )


def prepare(
    subject: Subject, image: np.ndarray, size: tuple[int, int]
) -> None:
    """Set a model's thresholds so that it returns ``INSTANCES`` instances.

    Raises:
        InputError: The model returns another number of instances.
    """
    inputs = test_batch(image, size)
    for settings in test_settings(subject.model):
        settings['max_per_img'] = INSTANCES
        if 'filter_thr' in settings:  # SOLOv2's second threshold
            settings['filter_thr'] = 0
    candidates = FEWER_CANDIDATES.get(subject.name, CANDIDATES)
    if hasattr(subject.model, 'cls_threshold'):
        # SparseInst: it has 100 candidates, each with a mask.
        subject.model.cls_threshold = 0
    else:
        choose_threshold(
            subject.model, lambda: subject.predict(inputs), candidates
        )
    count = len(subject.predict(inputs)[0].pred_instances)
    if count != INSTANCES:
        raise InputError(
            f'{subject.name} returns {count} instances from {candidates} '
            f'candidates; a model to measure must return {INSTANCES}'
        )


def load_subject(
    name: str,
    config: str | Config,
    device: torch.device,
    image: np.ndarray,
    size: tuple[int, int],
) -> Subject:
    """Build a model and :func:`prepare` it for a picture and an input size."""
    if isinstance(config, str):
        config = read_config(config)
    subject = Subject(name, build(config, device), device)
    prepare(subject, image, size)
    return subject
