"""What mixed precision, memory order and compilation gain."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmengine.runner import autocast

from .subjects import DEFAULT, Subject, build, prepare, read_config

MODEL = 'SPRNet-GFPN'
PLAIN = 'as it is'
SPREAD = 300  # of random weights' logits, to about those of trained ones


def _plain(subject: Subject) -> Subject:
    return subject


def _amp(subject: Subject) -> Subject:
    return subject._replace(context=autocast)


def _channels_last(subject: Subject) -> Subject:
    subject.model.to(memory_format=torch.channels_last)
    return subject


def _both(subject: Subject) -> Subject:
    return _amp(_channels_last(subject))


def _compiled(subject: Subject) -> Subject:
    # What mmengine's Runner does with `compile=True`.
    subject.model.test_step = torch.compile(subject.model.test_step)
    return subject


OPTIONS: dict[str, Callable[[Subject], Subject]] = {
    PLAIN: _plain,
    '--amp': _amp,
    'channels_last': _channels_last,
    '--amp, channels_last': _both,
    'compile=True': _compiled,
}


def optional_subjects(
    options: Sequence[str],
    device: torch.device,
    image: np.ndarray,
    size: tuple[int, int],
) -> list[Subject]:
    """The model with each option, under the option's name.

    Stock RetinaNet is not among them: in bfloat16 its NMS fails on a CPU.
    """
    subjects = []
    for option in options:
        model = build(read_config(DEFAULT[MODEL]), device)
        # In half precision the scores of random weights are one number.
        model.bbox_head.retina_cls.weight.data.mul_(SPREAD)
        subject = OPTIONS[option](Subject(option, model, device))
        prepare(subject, image, size)
        subjects.append(subject)
    return subjects
