"""Where a detector's time goes, stage by stage."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from operator import attrgetter
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

PREPROCESSING = 'preprocessing'
FEATURES = 'backbone and neck'
HEADS = 'heads'
SELECTION = 'selection and NMS'
MASKS = 'masks'
PASTING = 'masks to the original size'
ENCODING = 'results to RLE'
STAGES = (
    PREPROCESSING,
    FEATURES,
    HEADS,
    SELECTION,
    MASKS,
    PASTING,
    ENCODING,
)

# What belongs to a stage, as (part of a detector, method). Time in a method
# that another one calls counts for the inner one alone.
METHODS = (
    (PREPROCESSING, 'data_preprocessor', 'forward'),
    (SELECTION, '', 'predict'),
    (FEATURES, '', 'extract_feat'),
    (HEADS, 'bbox_head', 'forward'),
    (HEADS, 'rpn_head', 'forward'),
    (HEADS, 'roi_head', '_bbox_forward'),
    (MASKS, 'mask_head', 'predict'),
    (MASKS, 'mask_head', 'forward'),
    (MASKS, 'roi_head', 'predict_mask'),
    # Of SOLOv2 and YOLACT, which make masks of what they select, this holds
    # some of the other two.
    (PASTING, 'mask_head', 'predict_by_feat'),
    (PASTING, 'mask_head', 'mask_output'),
    (PASTING, 'roi_head.mask_head', 'predict_by_feat'),
)


def synchronize(device: torch.device) -> None:
    """Wait for what was started on a GPU."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


class StageTimer:
    """Adds up the seconds of nested stages, each without those within it.

    Args:
        device: waited for at the ends of each stage.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what runs within for ``name``."""
        self._switch()
        self._open.append(name)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    def _switch(self) -> None:
        synchronize(self.device)
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def timed(self, function: Callable, name: str) -> Callable:
        """``function``, counted for a stage."""

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return run


@contextmanager
def timed_stages(model: nn.Module, device: torch.device) -> Iterator:
    """A :class:`StageTimer` of a detector's methods."""
    timer = StageTimer(device)
    with ExitStack() as stack:
        for stage, part, name in METHODS:
            try:
                owner = attrgetter(part)(model) if part else model
                method = getattr(owner, name)
            except AttributeError:
                continue
            if callable(method):
                stack.enter_context(
                    patch.object(owner, name, timer.timed(method, stage))
                )
        yield timer
