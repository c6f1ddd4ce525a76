"""Whether a metric compares with the annotations of its data set."""

import os

from mmdet.registry import HOOKS
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from ..errors import InputError


@HOOKS.register_module()
class EvaluationFileHook(Hook):
    """Refuse a metric that reads another file than its data set.

    It would compare detections with objects of other images.

    Raises:
        InputError: Before the first image; names both files.
    """

    def before_val(self, runner: Runner) -> None:
        """Compare the files of the validation."""
        check_loop('val', runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Compare the files of the test."""
        check_loop('test', runner.test_loop)


def check_loop(name: str, loop: BaseLoop) -> None:
    """Check all metrics of a loop."""
    for metric in loop.evaluator.metrics:
        check_file(name, loop.dataloader.dataset, metric)


def check_file(name: str, dataset: BaseDataset, metric: BaseMetric) -> None:
    """Check that a metric reads the file of its data set, if both have one.

    Raises:
        InputError: Names both files.
    """
    file, other = (getattr(x, 'ann_file', None) for x in (dataset, metric))
    if file and other and not same_file(file, other):
        raise InputError(
            f'{name}_evaluator.ann_file={other} must be the file of '
            f'{name}_dataloader, {file}'
        )


def same_file(one: str, other: str) -> bool:
    """Tell whether two paths lead to the same file."""
    return os.path.realpath(one) == os.path.realpath(other)
