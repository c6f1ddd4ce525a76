"""Images per second and peak memory, in float32 and with --amp.

Pictures are resized before the clock runs, so this is the time from the
images of a batch to their masks. On a GPU, resizing would take as long as the
network.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config

from .candidates import spread_scores
from .clock import in_turns, seconds
from .memory import MIB
from .options import mixed_precision
from .subjects import Subject, build, prepare, read_config, test_batch

BATCHES = (1, 8)
FLOAT32, AMP = 'float32', '--amp'
MODES: dict[str, Callable[[Subject], Subject]] = {
    FLOAT32: lambda subject: subject,
    AMP: mixed_precision,
}
COMPILED = 'SPRNet-GFPN'


class Setting(NamedTuple):
    """What all models are measured with."""

    device: torch.device
    image: np.ndarray  # (height, width, 3) uint8
    size: tuple[int, int]  # largest short side and long side of the input
    rounds: int
    report: Callable[[str], None]  # shows a line of progress


def throughput(configs: dict[str, Config], setting: Setting) -> Iterator[dict]:
    """Measure models at each of ``BATCHES`` in each of ``MODES``.

    A model that fails, for example because its operators have no half
    precision, does not stop the others.

    Yields:
        After each batch size what is known: by mode and name either
        ``error``, a sentence, or by batch size ``seconds`` of each round and
        ``mib``, the peak on a GPU.
    """
    subjects = {}
    results: dict[str, dict] = {mode: {} for mode in MODES}
    for name, config in configs.items():
        setting.report(f'building {name}')
        for mode, subject in prepared(name, config, setting):
            if isinstance(subject, str):
                results[mode][name] = dict(error=subject)
            else:
                subjects[mode, name] = subject
                results[mode][name] = {}
    for batch in BATCHES:
        runs = {}
        for (mode, name), subject in subjects.items():
            entry = results[mode][name]
            predict = partial(
                subject.predict,
                test_batch(setting.image, setting.size, batch),
            )
            try:
                mib = peak(subject, predict)
            except RuntimeError as error:  # such as too little memory
                entry['error'] = f'batch {batch}: {first_line(error)}'
                continue
            entry[str(batch)] = dict(mib=mib)
            runs[mode, name] = partial(seconds, predict, setting.device)
        times = in_turns(runs, setting.rounds, setting.report, warm_up=1)
        for (mode, name), values in times.items():
            results[mode][name][str(batch)]['seconds'] = values
        yield dict(throughput=results)


def prepared(
    name: str, config: Config, setting: Setting
) -> Iterator[tuple[str, Subject | str]]:
    """Yield a model for each of ``MODES``, or the error that prevents it.

    Its scores are spread first: with random weights they are so close that
    float16 would make most of them equal.
    """
    model = build(config, setting.device)
    plain = Subject(name, model, setting.device)
    spread_scores(
        model,
        lambda: plain.predict(test_batch(setting.image, setting.size)),
    )
    for mode, apply in MODES.items():
        # Each has its own score threshold.
        subject = apply(plain._replace(model=copy.deepcopy(model)))
        try:
            prepare(subject, setting.image, setting.size)
        except (RuntimeError, ValueError) as error:
            yield mode, first_line(error)
        else:
            yield mode, subject


def first_line(error: Exception) -> str:
    """The error's type and the first line of its message."""
    lines = str(error).splitlines() or ['']
    return f'{type(error).__name__}: {lines[0]}'


def peak(subject: Subject, predict: Callable) -> float | None:
    """Peak MiB of a GPU in a prediction: weights, activations, results.

    Other models in memory do not count. None on a CPU.
    """
    if subject.device.type != 'cuda':
        predict()
        return None
    before = torch.cuda.memory_allocated(subject.device)
    torch.cuda.reset_peak_memory_stats(subject.device)
    predict()
    grown = torch.cuda.max_memory_allocated(subject.device) - before
    weights = sum(
        tensor.numel() * tensor.element_size()
        for tensor in subject.model.state_dict().values()
    )
    return (grown + weights) / MIB


def compiled(path: str, setting: Setting) -> Iterator[dict]:
    """Measure a model at batch 1 with and without ``compile=True``.

    Yields:
        After each mode what is known: by mode ``eager`` and ``compiled``, the
        seconds of each round, and ``first``, the seconds of the first image
        with its compilation.
    """
    results = {}
    data = test_batch(setting.image, setting.size)
    subjects = dict(prepared(COMPILED, read_config(path), setting))
    for mode in MODES:
        setting.report(f'compiling {COMPILED}, {mode}')
        eager = subjects[mode]
        if isinstance(eager, str):
            results[mode] = dict(error=eager)
            yield dict(compiled=results)
            continue
        fast = eager._replace(model=copy.deepcopy(eager.model))
        # As mmengine's Runner does for `compile=True`
        fast.model.test_step = torch.compile(fast.model.test_step)
        runs = {
            kind: partial(
                seconds, partial(subject.predict, data), setting.device
            )
            for kind, subject in (('eager', eager), ('compiled', fast))
        }
        first = runs['compiled']()
        times = in_turns(runs, setting.rounds, setting.report, warm_up=2)
        results[mode] = dict(first=first, **times)
        yield dict(compiled=results)
