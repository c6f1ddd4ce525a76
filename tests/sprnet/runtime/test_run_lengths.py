"""Which masks an evaluation predicts."""

from types import SimpleNamespace
from unittest import mock

import pytest
from mmdet.evaluation import CocoMetric, DumpDetResults
from mmengine.model import MMDistributedDataParallel

from projects.sprnet import DenseMasks, RLEMasks
from projects.sprnet.runtime import RunLengthsHook


def runner_with(model, metrics, draw=False):
    loop = SimpleNamespace(evaluator=SimpleNamespace(metrics=metrics))
    return SimpleNamespace(
        model=model,
        val_loop=loop,
        test_loop=loop,
        hooks=[SimpleNamespace(), SimpleNamespace(draw=draw)],
        logger=mock.Mock(),
    )


def model_with(mask_output):
    return SimpleNamespace(mask_head=SimpleNamespace(mask_output=mask_output))


def coco_metric():
    return mock.Mock(spec=CocoMetric)


@pytest.mark.parametrize('kind', ['val', 'test'])
@pytest.mark.parametrize('wrapped', [False, True])
def test_run_lengths_serve_cocos_metric_and_no_longer(kind, wrapped):
    own = DenseMasks()
    model = model_with(own)
    outer = model
    if wrapped:
        outer = mock.Mock(spec=MMDistributedDataParallel, module=model)
    runner, hook = runner_with(outer, [coco_metric()]), RunLengthsHook()
    getattr(hook, f'before_{kind}_epoch')(runner)
    assert isinstance(model.mask_head.mask_output, RLEMasks)
    model.mask_head.mask_output.seconds = 61
    getattr(hook, f'after_{kind}_iter')(runner, 0)
    getattr(hook, f'after_{kind}_epoch')(runner, metrics={})
    assert model.mask_head.mask_output is own
    (line,), _ = runner.logger.info.call_args
    assert 'run lengths 1 min 1 s' in line
    assert 'prediction' in line and 'comparison' in line


@pytest.mark.parametrize(
    'metrics,draw',
    [
        ([coco_metric()], True),
        ([coco_metric(), mock.Mock(spec=DumpDetResults)], False),
    ],
    ids=['drawn', 'dumped'],
)
def test_dense_masks_remain_where_pixels_are_needed(metrics, draw):
    own = DenseMasks()
    model = model_with(own)
    runner, hook = runner_with(model, metrics, draw), RunLengthsHook()
    hook.before_test_epoch(runner)
    assert model.mask_head.mask_output is own
    hook.after_test_epoch(runner)
    assert model.mask_head.mask_output is own


@pytest.mark.parametrize(
    'model', [SimpleNamespace(), SimpleNamespace(mask_head=object())]
)
def test_models_with_other_masks_or_none_are_left_alone(model):
    runner, hook = runner_with(model, [coco_metric()]), RunLengthsHook()
    hook.before_val_epoch(runner)
    hook.after_val_epoch(runner)
    (line,), _ = runner.logger.info.call_args
    assert 'run lengths' not in line
