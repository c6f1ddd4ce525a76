import time

from mmdet.evaluation import CocoMetric
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner

from ..rle import RLEMasks
from .run_summary import duration


@HOOKS.register_module()
class RunLengthsHook(Hook):
    """Predict run lengths in validation and test where nothing draws masks.

    COCO's metric needs no other masks, and their encoding as dense images
    takes longer than the rest of an evaluation. Dense masks remain if pictures
    are drawn, if another metric than COCO's is computed, and for models
    without ``mask_head.mask_output``, such as those that merge views.

    The last line of an evaluation's log says what its time went into.
    """

    # After all that the log says of the figures
    priority = 'LOWEST'

    def before_val_epoch(self, runner: Runner) -> None:
        """Choose the masks of a validation."""
        self._start(runner, runner.val_loop)

    def before_test_epoch(self, runner: Runner) -> None:
        """Choose the masks of a test."""
        self._start(runner, runner.test_loop)

    def after_val_iter(self, *args, **kwargs) -> None:
        """Note when the last batch was predicted."""
        self._predicted = time.perf_counter()

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner: Runner, metrics=None) -> None:
        """Give the model its own masks back; log the times."""
        now = time.perf_counter()
        predicting = self._predicted - self._begin
        parts = {'prediction': predicting}
        if self._head is not None:
            encoding = self._head.mask_output.seconds
            self._head.mask_output = self._own
            parts = {
                'prediction': predicting - encoding,
                'run lengths': encoding,
            }
        parts['comparison'] = now - self._predicted
        times = ', '.join(f'{k} {duration(v)}' for k, v in parts.items())
        runner.logger.info(f'evaluation: {times}')

    after_test_epoch = after_val_epoch

    def _start(self, runner: Runner, loop: BaseLoop) -> None:
        self._begin = self._predicted = time.perf_counter()
        self._head = None
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        head = getattr(model, 'mask_head', None)
        if hasattr(head, 'mask_output') and not _needs_pixels(runner, loop):
            self._head, self._own = head, head.mask_output
            head.mask_output = RLEMasks()


def _needs_pixels(runner: Runner, loop: BaseLoop) -> bool:
    drawing = any(getattr(hook, 'draw', False) for hook in runner.hooks)
    metrics = loop.evaluator.metrics
    return drawing or not all(isinstance(x, CocoMetric) for x in metrics)
