"""`compile=True`: what mmengine compiles gives the same on a GPU."""

import copy

import pytest
import torch
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


def test_compiled_losses(gpu):
    _, model = pair_of(SHAPES_CONFIG, gpu)
    plain, compiled = model.train(), copy.deepcopy(model).train()
    compiled.forward = torch.compile(compiled.forward)
    data = model.data_preprocessor(batch(), True)
    losses = [
        one.parse_losses(one(**data, mode='loss')) for one in (plain, compiled)
    ]
    for name, loss in losses[0][1].items():
        assert losses[1][1][name].item() == pytest.approx(
            loss.item(), rel=1e-3
        )
    losses[1][0].backward()
    assert all(
        torch.isfinite(p.grad).all()
        for p in compiled.parameters()
        if p.grad is not None
    )
