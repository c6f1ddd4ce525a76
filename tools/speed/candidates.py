"""Thresholds at which random weights give as many candidates as trained ones.

An untrained classifier's scores are nearly equal: at an ordinary threshold
none is left, at 0 all of them are, and what is timed is neither.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch

import torch
from mmdet.models.dense_heads import SOLOV2Head
from torch import Tensor, nn

# MMDetection's functions that compare scores with `score_thr`: the place of
# the scores among the arguments, and whether their last column is background.
FILTERS = {
    'filter_scores_and_topk': (0, False),
    'multiclass_nms': (1, True),
    'fast_nms': (1, True),
}


def _recording(
    function: Callable, place: int, background: bool, seen: list[Tensor]
) -> Callable:
    @wraps(function)
    def record(*args: Any, **kwargs: Any) -> Any:
        scores = args[place]
        seen.append((scores[:, :-1] if background else scores).flatten())
        return function(*args, **kwargs)

    return record


@contextmanager
def recorded_scores() -> Iterator[list[Tensor]]:
    """The scores that MMDetection's heads compare with a threshold."""
    seen: list[Tensor] = []
    # SOLOv2 compares in a method: its arguments are self, kernels, scores.
    places = [(SOLOV2Head, '_predict_by_feat_single', 2, False)] + [
        (module, name, *where)
        for name, where in FILTERS.items()
        for module_name, module in list(sys.modules.items())
        if module_name.startswith('mmdet.models') and hasattr(module, name)
    ]
    with ExitStack() as stack:
        for owner, name, place, background in places:
            record = _recording(getattr(owner, name), place, background, seen)
            stack.enter_context(patch.object(owner, name, record))
        yield seen


def test_settings(model: nn.Module) -> Iterator[dict]:
    """Every setting of a detector's tests that has a score threshold."""
    for module in model.modules():
        settings = getattr(module, 'test_cfg', None) or {}
        for one in (settings, settings.get('rcnn') or {}):
            if 'score_thr' in one:
                yield one


def choose_threshold(
    model: nn.Module, predict: Callable[[], Any], candidates: int
) -> None:
    """Set the threshold that ``candidates`` of the model's scores exceed.

    Args:
        predict: runs the model on the input that it will be measured with.

    Raises:
        ValueError: A model whose scores are not seen, for it compares them in
            a function of its own.
    """
    with recorded_scores() as seen:
        predict()
    if not seen:
        raise ValueError(
            f'{type(model).__name__} selects its candidates with none of '
            f'{", ".join(FILTERS)}'
        )
    scores = torch.cat(seen)
    count = min(candidates + 1, len(scores))
    threshold = scores.topk(count).values[-1].item()
    for settings in test_settings(model):
        settings['score_thr'] = threshold
