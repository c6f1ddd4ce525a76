"""Whether a metric compares with the annotations of its data set."""

import os
from collections.abc import Sequence

from mmdet.registry import HOOKS
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, Runner

from ..errors import InputError
from .datasets import inner_datasets


@HOOKS.register_module()
class EvaluationFileHook(Hook):
    """Refuse a metric that compares detections with objects of other images.

    It reads another file than its data set, or cannot tell the images of
    several data sets apart.

    Raises:
        InputError: Before the first image; names the files.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the files of the validations to come."""
        if runner.val_loop is not None:
            check_loop('val', runner.val_loop)

    def before_val(self, runner: Runner) -> None:
        """Compare the files of the validation."""
        check_loop('val', runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Compare the files of the test."""
        check_loop('test', runner.test_loop)


def check_loop(name: str, loop: BaseLoop) -> None:
    """Check all metrics of a loop.

    Of a MultiDatasetsEvaluator each data set has its own metric.
    """
    metrics = loop.evaluator.metrics
    datasets = list(inner_datasets(loop.dataloader.dataset))
    if hasattr(loop.evaluator, 'dataset_prefixes'):
        pairs = list(zip(datasets, metrics))
    elif datasets[0] is not loop.dataloader.dataset:
        pairs = []
        check_ids(name, datasets, metrics)
    else:
        pairs = [(datasets[0], metric) for metric in metrics]
    for dataset, metric in pairs:
        check_file(name, dataset, metric)


def check_ids(
    name: str, datasets: Sequence[BaseDataset], metrics: Sequence[BaseMetric]
) -> None:
    """Check that the images of several data sets can be told apart, and are
    those of each metric's file.

    Raises:
        InputError: Names an image and its files.
    """
    paths: dict = {}
    remedy = (
        f'evaluate one data set at a time, or let {name}_dataloader and '
        f'{name}_evaluator read one JSON of all images'
    )
    for dataset in datasets:
        for info in map(dataset.get_data_info, range(len(dataset))):
            number, path = info.get('img_id'), info.get('img_path')
            other = paths.setdefault(number, path)
            if other != path:
                raise InputError(
                    f'{name}_dataloader: {other} and {path} of two data sets '
                    f'have the image id {number}, which would mix their '
                    f'figures; {remedy}'
                )
    for metric in metrics:
        images = getattr(getattr(metric, '_coco_api', None), 'imgs', None)
        for number, path in paths.items() if images is not None else ():
            file_name = images.get(number, {}).get('file_name', '')
            if not same_name(path, file_name):
                raise InputError(
                    f'{name}_evaluator.ann_file={metric.ann_file} does not '
                    f'have the image {path} with the id {number}; {remedy}'
                )


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


def same_name(path: str | Sequence[str], file_name: str) -> bool:
    """Tell whether a file is named as in a JSON, in whatever folder.

    Args:
        path: Or the paths of an image's channels, any of which may be named.
        file_name: As in the JSON.
    """
    paths = [path] if isinstance(path, str) else path
    return os.path.basename(file_name) in map(os.path.basename, paths)


def same_file(one: str, other: str) -> bool:
    """Tell whether two paths lead to the same file."""
    return os.path.realpath(one) == os.path.realpath(other)
