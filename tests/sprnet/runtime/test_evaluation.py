"""Hooks that look at a run before its first image."""

from types import SimpleNamespace
from unittest import mock

import pytest

from projects.sprnet.runtime import EvaluationFileHook, ScheduleEndHook


def run_with(dataset_file, metric_file):
    loop = SimpleNamespace(
        dataloader=SimpleNamespace(
            dataset=SimpleNamespace(ann_file=dataset_file)
        ),
        evaluator=SimpleNamespace(
            metrics=[SimpleNamespace(ann_file=metric_file)]
        ),
    )
    return SimpleNamespace(val_loop=loop, test_loop=loop)


@pytest.mark.parametrize('moment', ['before_val', 'before_test'])
def test_a_metric_of_another_file_is_refused(moment, tmp_path):
    check = getattr(EvaluationFileHook(), moment)
    (tmp_path / 'link.json').symlink_to(tmp_path / 'a.json')
    own = str(tmp_path / 'a.json')
    for file in (own, str(tmp_path / 'link.json'), None):
        check(run_with(own, file))
    with pytest.raises(ValueError, match='evaluator.ann_file=.*b.json must'):
        check(run_with(own, str(tmp_path / 'b.json')))


@pytest.mark.parametrize(
    'iteration,end,warns', [(20, 20, True), (0, 20, False), (20, 40, False)]
)
def test_a_resumed_run_that_outlasts_its_schedule_warns(iteration, end, warns):
    class CosineAnnealingLR(SimpleNamespace):
        pass

    class LinearLR(SimpleNamespace):
        pass

    runner = SimpleNamespace(
        iter=iteration,
        max_iters=40,
        train_dataloader=range(10),
        param_schedulers=[
            LinearLR(end=5, by_epoch=False),
            CosineAnnealingLR(end=end, by_epoch=False),
        ],
        logger=mock.Mock(),
    )
    ScheduleEndHook().before_train(runner)
    assert bool(runner.logger.warning.call_args_list) == warns
    runner.param_schedulers[1] = CosineAnnealingLR(end=4, by_epoch=True)
    ScheduleEndHook().before_train(runner)  # 4 epochs of 10 iterations
    assert len(runner.logger.warning.call_args_list) == warns
