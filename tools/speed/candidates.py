"""Score thresholds that give untrained models the candidates of trained ones.

The scores of an untrained classifier are nearly equal: an ordinary threshold
keeps none of them, and 0 keeps all. Neither has the cost of a trained model.
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

from projects.sprnet.errors import InputError

# MMDetection's functions that compare scores with `score_thr`: the position
# of the scores among the arguments, and whether their last column is the
# background's.
FILTERS = {
    'filter_scores_and_topk': (0, False),
    'multiclass_nms': (1, True),
    'fast_nms': (1, True),
}


# The layers that compute scores, and the standard deviation of trained scores'
# logits
CLASSIFIERS = (
    'bbox_head.retina_cls',
    'bbox_head.conv_cls',
    'mask_head.conv_cls',
    'roi_head.bbox_head.fc_cls',
)
SPREAD = 1.5


@contextmanager
def recorded_scores() -> Iterator[list[Tensor]]:
    """Record the scores that MMDetection's heads compare with a threshold.

    Yields:
        A list that each comparison extends by its scores, flattened.
    """
    recorded: list[Tensor] = []

    def recording(
        function: Callable, position: int, background: bool
    ) -> Callable:
        @wraps(function)
        def record(*args: Any, **kwargs: Any) -> Any:
            scores = args[position]
            foreground = scores[:, :-1] if background else scores
            recorded.append(foreground.flatten())
            return function(*args, **kwargs)

        return record

    # SOLOv2 compares them in a method, whose arguments are self, kernels and
    # scores.
    filters = [(SOLOV2Head, '_predict_by_feat_single', 2, False)] + [
        (module, name, *arguments)
        for name, arguments in FILTERS.items()
        for module_name, module in list(sys.modules.items())
        if module_name.startswith('mmdet.models') and hasattr(module, name)
    ]
    with ExitStack() as stack:
        for owner, name, *arguments in filters:
            record = recording(getattr(owner, name), *arguments)
            stack.enter_context(patch.object(owner, name, record))
        yield recorded


def test_settings(model: nn.Module) -> Iterator[dict]:
    """Yield each ``test_cfg`` of a detector that has a score threshold."""
    for module in model.modules():
        config = getattr(module, 'test_cfg', None) or {}
        for settings in (config, config.get('rcnn') or {}):
            if 'score_thr' in settings:
                yield settings


def choose_threshold(
    model: nn.Module, predict: Callable[[], Any], candidates: int
) -> None:
    """Set the score threshold that ``candidates`` of the scores exceed.

    Args:
        predict: runs the model on the input that it will be measured with.

    Raises:
        InputError: The model compares its scores in a function of its own.
    """
    with recorded_scores() as recorded:
        predict()
    if not recorded:
        raise InputError(
            f'{type(model).__name__} selects its candidates with none of '
            f'{", ".join(FILTERS)}, so its score threshold cannot be chosen'
        )
    scores = torch.cat(recorded)
    count = min(candidates + 1, len(scores))
    threshold = scores.topk(count).values[-1].item()
    for settings in test_settings(model):
        settings['score_thr'] = threshold


def spread_scores(model: nn.Module, predict: Callable[[], Any]) -> None:
    """Spread an untrained model's scores about as far as trained ones.

    The weights of its classifiers are scaled.

    Args:
        predict: runs the model on the input that it will be measured with.
    """
    layers = [m for n, m in model.named_modules() if n in CLASSIFIERS]
    for layer in layers:
        logits: list[Tensor] = []
        handle = layer.register_forward_hook(
            lambda _, __, output, logits=logits: logits.append(
                output.flatten()
            )
        )
        predict()
        handle.remove()
        layer.weight.data.mul_(SPREAD / torch.cat(logits).std())
