"""SPR-RTMDet beside RTMDet-Ins: time and memory by numbers of objects."""

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import torch
from mmengine.config import Config

from projects.sprnet.errors import InputError

from .clock import in_turns
from .latency import image_seconds
from .memory import Peak, in_child
from .subjects import (
    CONFIGS,
    Subject,
    build,
    picture,
    prepare,
    read_config,
    test_batch,
    test_settings,
)
from .training import optimizer, step_seconds

HEADS = CONFIGS / 'other_heads'
MODELS = {
    'RTMDet-Ins-s': 'mmdet::rtmdet/rtmdet-ins_s_8xb32-300e_coco.py',
    'SPR-RTMDet-s': str(HEADS / 'sprnet_rtmdet-s_300e_coco.py'),
    'SPR-RTMDet-s-box': str(HEADS / 'sprnet_rtmdet-s_plus-box_300e_coco.py'),
}
SIDE = 640  # of the square input, as the models' pipelines make it
DETECTIONS = (1, 10, 100, 300, 1000)
OBJECTS = (10, 100, 500)
BATCH = 1
SIDES = 0.7  # logarithm of a box's half side in strides


def comparable(path: str) -> Config:
    """Read a config whose NMS keeps overlapping boxes, so that 1,000 of random
    ones remain; with inputs as the neck needs them, and RTMDet-Ins's sides."""
    config = read_config(path)
    config.model.test_cfg.nms.iou_threshold = 0.9
    config.model.data_preprocessor.pad_size_divisor = 32
    if 'exp_on_reg' in config.model.bbox_head:
        config.model.bbox_head.exp_on_reg = True
    return config


@torch.no_grad()
def spread(subject: Subject, side: int) -> None:
    """Spread an untrained RTMDet's scores and sides, level by level.

    Its features are so small that all scores round to the same number.
    """
    head = subject.model.bbox_head
    for layer in head.rtm_cls:
        layer.bias.zero_()
    data = subject.model.data_preprocessor(
        test_batch(picture(side, side), (side, side))
    )
    features = subject.model.extract_feat(data['inputs'])
    scores = head(getattr(features, 'levels', features))[0]
    for level, cls, reg in zip(scores, head.rtm_cls, head.rtm_reg):
        cls.weight.mul_(1 / level.std())
        reg.weight.mul_(0.2 / level.std())
        reg.bias.fill_(SIDES)


def load(name: str, path: str, side: int, device: torch.device) -> Subject:
    """Build a model of ``MODELS``, ready to predict."""
    subject = Subject(name, build(comparable(path), device), device)
    spread(subject, side)
    prepare(subject, picture(side, side), (side, side))
    return subject


def detections_seconds(subject: Subject, side: int, detections: int) -> float:
    """Seconds of an image from its pixels to ``detections`` masks.

    Raises:
        InputError: The model returns another number of detections.
    """
    image, size = picture(side, side), (side, side)
    settings = list(test_settings(subject.model))
    for config in settings:
        config['max_per_img'] = detections
    found = len(subject.predict(test_batch(image, size))[0].pred_instances)
    if found != detections:
        raise InputError(
            f'{subject.name} returns {found} instances of {detections}; '
            'its time for so many cannot be measured'
        )
    return image_seconds(subject, image, size)


def objects_training(
    name: str, path: str, side: int, objects: int, device: torch.device
) -> dict[str, float]:
    """Seconds, and peak MiB above the model's, of a training step."""
    subject = Subject(name, build(comparable(path), device), device)
    wrapper = optimizer(subject.model)
    step = partial(step_seconds, subject, wrapper, (side, side), BATCH)
    step(objects=1)  # creates the gradients
    peak = Peak(device)
    return dict(seconds=step(objects=objects)['step'], mib=peak.mib())


def by_objects(
    name: str, path: str, side: int, device: torch.device
) -> list[dict[str, float] | None]:
    """Costs of :func:`objects_training` by ``OBJECTS``, each from a process of
    its own; None where its memory does not suffice."""
    costs: list[dict[str, float] | None] = []
    for objects in OBJECTS:
        try:
            one = in_child(objects_training, name, path, side, objects, device)
        except (BrokenProcessPool, MemoryError, torch.OutOfMemoryError):
            one = None
        costs.append(one)
    return costs


def rtmdet(
    side: int,
    device: torch.device,
    rounds: int,
    report: Callable[[str], None],
) -> Iterator[dict]:
    """Measure ``MODELS``; yields the entry of the results as it grows."""
    subjects = [
        load(name, path, side, device) for name, path in MODELS.items()
    ]
    runs = {
        (subject.name, count): partial(
            detections_seconds, subject, side, count
        )
        for count in DETECTIONS
        for subject in subjects
    }
    times = in_turns(runs, rounds, report, warm_up=1)
    results = dict(
        side=side,
        detections={
            name: [times[name, count] for count in DETECTIONS]
            for name in MODELS
        },
        objects={},
    )
    yield dict(rtmdet=results)
    for name, path in MODELS.items():
        report(f'training {name}')
        results['objects'][name] = by_objects(name, path, side, device)
        yield dict(rtmdet=results)
