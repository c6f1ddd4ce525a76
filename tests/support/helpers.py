"""Small models and data that the tests share."""

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from mmdet.models.utils import filter_scores_and_topk
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import Tensor, nn

import projects.sprnet  # noqa: F401  registers the configs' types

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / 'configs' / 'sprnet'
SHAPES_CONFIG = CONFIGS / 'sprnet_r18_gfpn_shapes.py'
BOX_CONFIG = CONFIGS / 'plus' / 'sprnet_r18_gfpn_plus-box_shapes.py'
OBJECTS = [[24.0, 24, 56, 56], [48, 48, 112, 112], [8, 72, 56, 112]]
NAN, INF = float('nan'), float('inf')

register_all_modules()


@cache
def _shipped(config: Path) -> Config:
    return Config.fromfile(config)


def read_config(config: Path) -> Config:
    """Read a config. Those of this project are read once: it takes mmengine
    most of a second to find their bases in MMDetection."""
    if CONFIGS in config.parents:
        return copy.deepcopy(_shipped(config))
    return Config.fromfile(config)


def build_model(
    config: Path = SHAPES_CONFIG, seed: int = 0, **options
) -> nn.Module:
    """Build a config's model with random weights; options change it."""
    cfg = read_config(config)
    cfg.merge_from_dict({f'model.{k}': v for k, v in options.items()})
    cfg.model.backbone.init_cfg = None
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def lively(model: nn.Module) -> nn.Module:
    """Give a model detections above the threshold and masks of any shape."""
    nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.3)
    nn.init.constant_(model.bbox_head.retina_cls.bias, -3)
    nn.init.normal_(model.mask_head.decoder.classifier.weight, std=0.5)
    return model.eval()


def sample(
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    size: tuple[int, int] = (128, 128),
    crowds: Sequence[Sequence[float]] = (),
) -> DetDataSample:
    """Annotate an image; each object's mask is an ellipse in its box."""
    height, width = size
    y, x = np.mgrid[:height, :width] + 0.5
    masks = [
        ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2
        + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2
        <= 0.25
        for x1, y1, x2, y2 in boxes
    ]
    result = DetDataSample(
        metainfo=dict(
            img_id=1,
            img_shape=size,
            ori_shape=size,
            pad_shape=size,
            batch_input_shape=size,
            scale_factor=(1.0, 1.0),
        )
    )
    result.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
        masks=BitmapMasks(
            np.array(masks, np.uint8).reshape(-1, height, width), height, width
        ),
    )
    result.ignored_instances = InstanceData(
        bboxes=torch.tensor(crowds, dtype=torch.float32).reshape(-1, 4)
    )
    return result


def pyramid(
    sizes: Sequence[tuple[int, int]], batch: int = 2, channels: int = 6
) -> list[Tensor]:
    """Random maps (batch, channels, H_l, W_l)."""
    return [
        torch.randn(batch, channels, *s, requires_grad=True) for s in sizes
    ]


def all_locations(
    sizes: Sequence[tuple[int, int]], batch: int
) -> tuple[Tensor, Tensor]:
    """Picture and index of every location of a batch's pyramids."""
    length = sum(h * w for h, w in sizes)
    return (
        torch.arange(batch).repeat_interleave(length),
        torch.arange(length).repeat(batch),
    )


def at_all_locations(maps: Sequence[Tensor]) -> Tensor:
    """Dense maps (N, C, H_l, W_l) as rows in the order of all_locations."""
    rows = [level.flatten(2).transpose(1, 2) for level in maps]
    return torch.cat(rows, dim=1).flatten(0, 1)


def retina_head(
    classes: int, anchors: int, levels: int, **options
) -> nn.Module:
    """A stock head that scores ``anchors`` anchors of a location."""
    generator = dict(
        type='AnchorGenerator',
        scales=[4],
        ratios=[1 + i for i in range(anchors)],
        strides=[8 * 2**i for i in range(levels)],
    )
    return MODELS.build(
        dict(
            type='RetinaHead',
            num_classes=classes,
            in_channels=4,
            stacked_convs=0,
            anchor_generator=generator,
            **options,
        )
    )


def stock_candidates(
    cls_scores: Sequence[Tensor], head: nn.Module, cfg: dict
) -> tuple[Tensor, Tensor]:
    """Locations and scores (n,) of a picture's candidates, as MMDetection
    selects them from all locations."""
    start, locations, scores = 0, [], []
    for logits, anchors in zip(
        cls_scores, head.prior_generator.num_base_priors
    ):
        logits = logits.permute(1, 2, 0).reshape(-1, head.cls_out_channels)
        if head.use_sigmoid_cls:
            all_scores = logits.sigmoid()
        else:
            all_scores = logits.softmax(-1)[:, :-1]
        selected, _, priors, _ = filter_scores_and_topk(
            all_scores, cfg['score_thr'], cfg['nms_pre']
        )
        locations.append(start + priors // anchors)
        scores.append(selected)
        start += len(logits) // anchors
    return torch.cat(locations), torch.cat(scores)
