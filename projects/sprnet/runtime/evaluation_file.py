"""Whether a metric compares with the annotations of its data set."""

import os

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from .errors import InputError


@HOOKS.register_module()
class EvaluationFileHook(Hook):
    """Refuse a metric that reads another file than its data set.

    It would compare detections with objects of other images.

    Raises:
        InputError: Before the first image; names both files.
    """

    def before_val(self, runner: Runner) -> None:
        """Compare the files of the validation."""
        self._check('val', runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Compare the files of the test."""
        self._check('test', runner.test_loop)

    def _check(self, name: str, loop) -> None:
        file = getattr(loop.dataloader.dataset, 'ann_file', None)
        for metric in loop.evaluator.metrics:
            other = getattr(metric, 'ann_file', None)
            if file and other and not same_file(file, other):
                raise InputError(
                    f'{name}_evaluator.ann_file={other} must be the file of '
                    f'{name}_dataloader, {file}'
                )


def same_file(one: str, other: str) -> bool:
    """Tell whether two paths lead to the same file."""
    return os.path.realpath(one) == os.path.realpath(other)
