"""What SPR adds to detectors of other sizes: time and memory."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config

from .clock import in_turns
from .latency import image_seconds, stage_seconds
from .memory import in_child, testing_peak
from .stages import MASKS, PASTING
from .subjects import CONFIGS, DEFAULT, load_subject, read_config


class Pair(NamedTuple):
    """A detector, and an SPRNet that adds nothing but masks to it."""

    stock: str
    sprnet: str
    depth: int | None = None  # of the SPRNet's ResNet, if not its config's


PAIRS = {
    'R50': Pair(DEFAULT['RetinaNet'], DEFAULT['SPRNet-FPN']),
    'R101': Pair(
        'mmdet::retinanet/retinanet_r101_fpn_1x_coco.py',
        DEFAULT['SPRNet-FPN'],
        101,
    ),
    'Swin-T': Pair(
        'mmdet::swin/retinanet_swin-t-p4-w7_fpn_1x_coco.py',
        str(CONFIGS / 'other_backbones' / 'sprnet_swin-t_gfpn_1x_coco.py'),
    ),
}
KINDS = ('stock', 'sprnet')


def configs(pair: Pair) -> dict[str, Config]:
    """The two configs of a pair; both have the stock FPN."""
    stock, sprnet = read_config(pair.stock), read_config(pair.sprnet)
    sprnet.model.neck.type = stock.model.neck.type
    if pair.depth:
        sprnet.model.backbone.depth = pair.depth
    return dict(zip(KINDS, (stock, sprnet)))


def wrapper(
    device: torch.device,
    image: np.ndarray,
    size: tuple[int, int],
    rounds: int,
    report: Callable[[str], None],
) -> dict:
    """Measure each pair of ``PAIRS``.

    Returns:
        For each, ``seconds`` of an image by round and ``mib``, the peak memory
        in testing, of both detectors; and ``masks``, the seconds of an image
        in the stages of masks, by round.
    """
    results = {}
    for name, pair in PAIRS.items():
        both = configs(pair)
        report(f'building {name}')
        subjects = {
            kind: load_subject(f'{name} {kind}', one, device, image, size)
            for kind, one in both.items()
        }
        runs = {
            kind: partial(image_seconds, subject, image, size)
            for kind, subject in subjects.items()
        }
        runs['stages'] = partial(
            stage_seconds, subjects['sprnet'], image, size
        )
        seconds = in_turns(runs, rounds, report, warm_up=1)
        stages = seconds.pop('stages')
        results[name] = dict(
            seconds=seconds,
            masks=[stage[MASKS] + stage[PASTING] for stage in stages],
            mib={
                kind: in_child(testing_peak, kind, one, device, image, size)
                for kind, one in both.items()
            },
        )
    return dict(wrapper=results)
