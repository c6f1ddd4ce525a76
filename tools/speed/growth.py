"""How time and memory grow, one quantity at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmdet.registry import TASK_UTILS
from torch import nn

import projects.sprnet  # noqa: F401  registers what `kind` names

from .clock import in_turns, seconds
from .latency import once, stages_once
from .memory import Peak, in_child
from .stages import MASKS, PASTING
from .subjects import (
    DEFAULT,
    INSTANCES,
    Subject,
    build,
    picture,
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
HEADS = dict(bbox_head='RetinaHead', mask_head='SPRHead')


def by_image_size(
    subjects: Sequence[Subject], report: Callable[[str], None]
) -> dict[str, list[float]]:
    """Seconds from a picture to its results at each of ``SHORT_SIDES``; the
    results have the size of the picture, whatever the input's."""
    image = picture(427, 640)
    runs = {
        (s.name, side): lambda s=s, side=side: once(
            s, image, (side, 2 * side), 1
        )
        for side in SHORT_SIDES
        for s in subjects
    }
    found = in_turns(runs, 1, report)
    return {
        s.name: [found[s.name, side][0] for side in SHORT_SIDES]
        for s in subjects
    }


def by_detections(
    subjects: Sequence[Subject],
    size: tuple[int, int],
    rounds: int,
    report: Callable[[str], None],
) -> dict[str, list[float]]:
    """Median seconds of the masks alone, those to the original size included,
    for each of ``DETECTIONS``."""
    image = picture(427, 640)

    def run(subject: Subject, count: int) -> float:
        for settings in test_settings(subject.model):
            settings['max_per_img'] = count
        found = stages_once(subject, image, size)
        return found[MASKS] + found[PASTING]

    runs = {
        (s.name, count): lambda s=s, count=count: run(s, count)
        for count in DETECTIONS
        for s in subjects
    }
    found = in_turns(runs, rounds, report)
    for subject in subjects:
        for settings in test_settings(subject.model):
            settings['max_per_img'] = INSTANCES
    return {
        s.name: [float(np.median(found[s.name, n])) for n in DETECTIONS]
        for s in subjects
    }


def head_alone(part: str, classes: int, device: torch.device) -> nn.Module:
    """A head of SPRNet R50, with weights.

    The overlap that makes a pixel positive is low, so that ten objects have
    as many training pixels as are used at most, and thousands no more.
    """
    config = read_config(DEFAULT['SPRNet-GFPN'])
    config.model.bbox_head.num_classes = classes
    config.model.mask_head.sampler.threshold = LOW_OVERLAP
    model = build(config, device)
    return getattr(model, part).train()


def head_training(
    part: str, objects: int, classes: int, device: torch.device
) -> dict[str, float]:
    """Seconds and peak MiB of a head's loss and gradients.

    Neither a backbone's nor the weights' memory is in it, and a step of one
    object comes first, so that their gradients are there already.
    """
    head = head_alone(part, classes, device)
    torch.manual_seed(0)
    feats = [
        torch.randn(1, 256, *level, device=device).requires_grad_()
        for level in LEVELS
    ]

    def run(objects: int) -> float:
        sample = annotated(800, 1216, objects, classes, seed=0).to(device)

        def step() -> None:
            losses = head.loss(feats, [sample]).values()
            sum(v if torch.is_tensor(v) else sum(v) for v in losses).backward()

        return seconds(step, device)

    run(1)
    peak = Peak(device)
    return dict(seconds=run(objects), mib=peak.mib())


def masks_out(
    kind: str, height: int, width: int, device: torch.device
) -> dict[str, float]:
    """Median seconds and peak MiB from 100 maps of 32x32 to an image's."""
    convert = TASK_UTILS.build(dict(type=kind))
    boxes = torch.from_numpy(random_boxes(100, height, width, 0)).to(device)
    axis = torch.linspace(-1, 1, 32, device=device)
    disc = (1.3 - axis[:, None] ** 2 - axis**2).clamp(0, 1)
    maps = disc.expand(100, 32, 32).contiguous()

    def run() -> float:
        return seconds(
            lambda: convert(maps, boxes, height, width, 0.5), device
        )

    peak = Peak(device)
    times = [run() for _ in range(REPEATS)]
    return dict(seconds=float(np.median(times)), mib=peak.mib())


def by_objects(
    device: torch.device, report: Callable[[str], None]
) -> dict[str, list[dict[str, float]]]:
    """:func:`head_training` of both heads for each of ``OBJECTS``."""
    found: dict[str, list[dict[str, float]]] = {}
    for part, name in HEADS.items():
        found[name] = []
        for objects in OBJECTS:
            report(f'{name}: {objects} objects')
            found[name].append(
                in_child(head_training, part, objects, 80, device)
            )
    return found


def by_classes(
    device: torch.device, report: Callable[[str], None]
) -> dict[str, list[dict[str, float]]]:
    """:func:`head_training` of the mask head for each of ``CLASSES``."""
    found = []
    for classes in CLASSES:
        report(f'SPRHead: {classes} classes')
        found.append(in_child(head_training, 'mask_head', 20, classes, device))
    return {HEADS['mask_head']: found}


def by_output(
    device: torch.device, report: Callable[[str], None]
) -> dict[str, list[dict[str, float]]]:
    """:func:`masks_out` of each of ``OUTPUT_TYPES`` at each of ``OUTPUTS``."""
    found: dict[str, list[dict[str, float]]] = {}
    for kind in OUTPUT_TYPES:
        found[kind] = []
        for height, width in OUTPUTS:
            report(f'{kind}: {width}x{height}')
            found[kind].append(
                in_child(masks_out, kind, height, width, device)
            )
    return found
