"""`compile=True`: what mmengine compiles gives the same on a GPU."""

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from support.agreement import agreement, batch, pair_of, predict
from support.helpers import BOX_CONFIG, SHAPES_CONFIG


@pytest.mark.parametrize('config', [SHAPES_CONFIG, BOX_CONFIG])
def test_compiled_prediction(config, gpu, record_property):
    _, model = pair_of(config, gpu)
    expected = predict(model)
    model.test_step = torch.compile(model.test_step)
    found = agreement(expected, predict(model))
    for name, value in found._asdict().items():
        record_property(name, value)
    assert found.matched >= 0.95
    assert found.mask <= 1e-3


def test_compiled_training_step(gpu):
    _, model = pair_of(SHAPES_CONFIG, gpu)
    steps = []
    for compiled in (False, True):
        one = copy.deepcopy(model).train()
        wrapper = OptimWrapper(torch.optim.SGD(one.parameters(), lr=1e-4))
        if compiled:
            one.train_step = torch.compile(one.train_step)
        losses = one.train_step(batch(), wrapper)
        weights = torch.cat([p.flatten() for p in one.parameters()])
        steps.append(({k: v.item() for k, v in losses.items()}, weights))
    assert steps[1][0] == pytest.approx(steps[0][0], rel=1e-3)
    torch.testing.assert_close(steps[1][1], steps[0][1], atol=1e-4, rtol=0)
