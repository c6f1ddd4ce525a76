"""The options that can make a prediction faster."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from .subjects import DEFAULT, Subject, build, prepare, read_config

MODEL = 'SPRNet-GFPN'
PLAIN = 'as it is'
SPREAD = 300  # spreads random weights' logits about as far as trained ones'


def mixed_precision(subject: Subject) -> Subject:
    """The model with --amp: float16 on a GPU, bfloat16 on a CPU."""
    # Not mmengine's autocast: that one takes a GPU if there is one.
    context = partial(torch.autocast, subject.device.type)
    return subject._replace(context=context)


def _channels_last(subject: Subject) -> Subject:
    subject.model.to(memory_format=torch.channels_last)
    return subject


def _compiled(subject: Subject) -> Subject:
    # As mmengine's Runner does for `compile=True`
    subject.model.test_step = torch.compile(subject.model.test_step)
    return subject


OPTIONS: dict[str, Callable[[Subject], Subject]] = {
    PLAIN: lambda subject: subject,
    '--amp': mixed_precision,
    'channels_last': _channels_last,
    '--amp, channels_last': lambda subject: mixed_precision(
        _channels_last(subject)
    ),
    'compile=True': _compiled,
}


def optional_subjects(
    device: torch.device, image: np.ndarray, size: tuple[int, int]
) -> list[Subject]:
    """Build the model once with each of ``OPTIONS``, named after the option.

    Stock RetinaNet is not measured: its NMS fails in bfloat16 on a CPU.
    """
    subjects = []
    for option, apply in OPTIONS.items():
        model = build(read_config(DEFAULT[MODEL]), device)
        # In half precision, all scores of random weights would be equal.
        model.bbox_head.retina_cls.weight.data.mul_(SPREAD)
        subject = apply(Subject(option, model, device))
        prepare(subject, image, size)
        subjects.append(subject)
    return subjects
