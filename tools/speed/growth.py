"""Growth of time and memory with one quantity at a time."""

from statistics import median

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from torch import nn

from projects.sprnet.structures import Features  # registers OUTPUT_TYPES, too

from .clock import seconds
from .latency import stage_seconds
from .memory import Peak
from .stages import MASKS, PASTING
from .subjects import (
    DEFAULT,
    INSTANCES,
    Subject,
    build,
    read_config,
    test_settings,
)
from .training import annotated, random_boxes

SHORT_SIDES = (400, 800, 1200, 1600)
DETECTIONS = (1, 10, 100, 1000)
OBJECTS = (10, 200, 2000)
CLASSES = (1, 80, 1203)
OUTPUTS = ((480, 640), (1080, 1920), (2160, 3840), (4000, 6000))
OUTPUT_TYPES = ('DenseMasks', 'RLEMasks')
LEVELS = ((100, 152), (50, 76), (25, 38), (13, 19), (7, 10))
REPEATS = 3
LOW_OVERLAP = 0.2
HEADS = (('bbox_head', 'RetinaHead'), ('mask_head', 'SPRHead'))


def mask_seconds(
    subject: Subject, image: np.ndarray, size: tuple[int, int], detections: int
) -> float:
    """Seconds for the masks of ``detections`` instances, pasting included."""
    settings = list(test_settings(subject.model))
    for config in settings:
        config['max_per_img'] = detections
    stages = stage_seconds(subject, image, size)
    for config in settings:
        config['max_per_img'] = INSTANCES
    return stages[MASKS] + stages[PASTING]


def build_head(part: str, classes: int, device: torch.device) -> nn.Module:
    """Build one head of SPRNet R50 for training.

    Args:
        part: the head's name in the detector, as in ``HEADS``.
        classes: number of classes.
        device: where the head runs.
    """
    config = read_config(DEFAULT['SPRNet-GFPN'])
    config.model.bbox_head.num_classes = classes
    # A low overlap makes many locations positive, so that ten objects already
    # give as many training locations as the sampler takes.
    config.model.mask_head.sampler.threshold = LOW_OVERLAP
    return getattr(build(config, device), part).train()


def head_training(
    part: str, objects: int, classes: int, device: torch.device
) -> dict[str, float]:
    """Seconds and peak MiB of a head's loss and gradients.

    The memory excludes the backbone, the head's weights and their gradients;
    a step with one object creates the gradients beforehand.
    """
    head = build_head(part, classes, device)
    torch.manual_seed(0)
    levels = tuple(
        torch.randn(1, 256, *level, device=device).requires_grad_()
        for level in LEVELS
    )
    features = Features(levels) if part == 'mask_head' else levels

    def run(objects: int) -> float:
        sample = annotated(800, 1216, objects, classes, seed=0).to(device)

        def step() -> None:
            losses = head.loss(features, [sample]).values()
            sum(v if torch.is_tensor(v) else sum(v) for v in losses).backward()

        return seconds(step, device)

    run(1)
    if device.type == 'cuda':
        run(objects)  # loads kernels and reserves memory
    peak = Peak(device)
    return dict(seconds=run(objects), mib=peak.mib())


def masks_out(
    kind: str, height: int, width: int, device: torch.device
) -> dict[str, float]:
    """Median seconds and peak MiB of turning 100 32x32 maps into masks.

    Args:
        kind: one of ``OUTPUT_TYPES``.
        height, width: size of the image that the masks cover.
        device: where the maps are.
    """
    convert = TASK_UTILS.build(dict(type=kind))
    boxes = torch.from_numpy(random_boxes(100, height, width, 0)).to(device)
    axis = torch.linspace(-1, 1, 32, device=device)
    disc = (1.3 - axis[:, None] ** 2 - axis**2).clamp(0, 1)
    maps = disc.expand(100, 32, 32).contiguous()
    peak = Peak(device)
    times = [
        seconds(lambda: convert(maps, [boxes], [(height, width)], 0.5), device)
        for _ in range(REPEATS)
    ]
    return dict(seconds=median(times), mib=peak.mib())


# Measurements that need a process of their own. For each quantity: a function,
# and by row of the report its arguments, without the device
IN_CHILDREN = {
    'objects': (
        head_training,
        {head: [(part, n, 80) for n in OBJECTS] for part, head in HEADS},
    ),
    'classes': (
        head_training,
        {'SPRHead': [('mask_head', 20, n) for n in CLASSES]},
    ),
    'output': (
        masks_out,
        {kind: [(kind, *size) for size in OUTPUTS] for kind in OUTPUT_TYPES},
    ),
}
