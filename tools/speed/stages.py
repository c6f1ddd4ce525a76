"""Time that a detector spends in each stage of a prediction."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from unittest.mock import patch

import torch
from torch import nn

from .clock import now

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

# The methods of each stage: (stage, part of the detector, method). The time
# of a method that another one calls counts for the inner one only.
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
    # SOLOv2 and YOLACT also select and make masks in this method.
    (PASTING, 'mask_head', 'predict_by_feat'),
    (PASTING, 'mask_head', 'mask_output'),
    (PASTING, 'roi_head.mask_head', 'predict_by_feat'),
)


class StageTimer:
    """Adds up the seconds of nested stages.

    A stage does not include the stages within it.

    Args:
        device: device whose work is awaited where a stage begins or ends.

    Attributes:
        seconds: seconds by stage.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a ``with`` block, or of a decorated function."""
        self._switch()
        self._open.append(name)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    def _switch(self) -> None:
        time_now = now(self.device)
        if self._open:
            self.seconds[self._open[-1]] += time_now - self._since
        self._since = time_now


@contextmanager
def timed_stages(
    model: nn.Module, device: torch.device
) -> Iterator[StageTimer]:
    """Time a detector's :data:`METHODS` within a ``with`` block."""
    timer = StageTimer(device)
    with ExitStack() as stack:
        for stage, part, name in METHODS:
            try:
                owner = attrgetter(part)(model) if part else model
                method = getattr(owner, name)
            except AttributeError:
                continue
            if callable(method):
                timed = timer.stage(stage)(method)
                stack.enter_context(patch.object(owner, name, timed))
        yield timer
