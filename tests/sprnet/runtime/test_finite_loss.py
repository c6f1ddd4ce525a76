from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from support.amp import amp_on_cpu
from support.children import exit_codes, start
from support.toy_run import Toy, last_weights, toy_runner

from projects.sprnet.runtime import FiniteLossHook

LOSSES = {
    'loss_mask is nan': lambda w: dict(
        loss_cls=w, loss_mask=[w, w * torch.nan], accuracy=w * torch.nan
    ),
    'loss_cls is inf, loss_mask is nan': lambda w: dict(
        loss_cls=w + torch.inf, loss_mask=w * torch.nan
    ),
    'the gradients are not finite': lambda w: dict(loss_cls=(w * 0).sqrt()),
}


class Broken(Toy):
    """Breaks in its third iteration, the first of the second epoch."""

    iterations = 0

    def losses(self, images, samples):
        self.iterations += 1
        if self.iterations < 3:
            return super().losses(images, samples)
        self.ids = [sample.img_id for sample in samples]
        return LOSSES[self.fault](self.weight)


@pytest.mark.parametrize('fault', LOSSES)
def test_stops_before_the_step_and_names_losses_and_images(fault, tmp_path):
    runner = toy_runner(tmp_path, Broken)
    runner.model.fault = fault
    with pytest.raises(FloatingPointError) as end:
        runner.train()
    ids = ', '.join(map(str, runner.model.ids))
    assert len(runner.model.ids) == 2
    assert str(end.value).startswith(
        f'iteration 3: {fault} for the images {ids} ('
    )
    assert runner.model.weight.item() == last_weights(tmp_path) != 0
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_1.pth')


def test_stops_a_compiled_step(tmp_path):
    runner = toy_runner(tmp_path, Broken)
    runner.model.fault = fault = list(LOSSES)[-1]
    runner.cfg.compile = dict(backend='eager')
    with pytest.raises(FloatingPointError, match=f'^iteration 3: {fault}'):
        runner.train()
    assert runner.model.weight.item() == last_weights(tmp_path) != 0


def test_stops_watching_after_training(tmp_path):
    runner = toy_runner(tmp_path)
    runner.train()
    runner.model.weight.data.fill_(torch.nan)
    for batch in runner.train_dataloader:
        losses = runner.model.train_step(batch, runner.optim_wrapper)
        assert losses['loss'].isnan()


def run_rank(rank, folder):
    """One of two ranks; the loss of the second is NaN. Writes the error."""
    dist.init_process_group(
        'gloo', f'file://{folder}/store', rank=rank, world_size=2
    )
    model = Broken()
    model.iterations, model.fault = 2, list(LOSSES)[0]
    if rank == 0:
        model.losses = lambda images, samples: dict(loss_mask=model.weight)
    optimizer = SimpleNamespace(optimizer=torch.optim.SGD([model.weight], 1))
    runner = SimpleNamespace(model=model, optim_wrapper=optimizer, iter=6)
    FiniteLossHook().before_train(runner)
    samples = [SimpleNamespace(img_id=10 * rank + n) for n in range(2)]
    try:
        model([torch.zeros(())], data_samples=samples, mode='loss')
    except FloatingPointError as error:
        (folder / f'rank{rank}').write_text(str(error))


def test_all_ranks_stop_with_the_same_message(tmp_path):
    exit_codes(*(start(run_rank, rank, tmp_path) for rank in range(2)))
    first, second = (
        (tmp_path / f'rank{rank}').read_text() for rank in range(2)
    )
    assert first == second
    assert first.startswith(
        'iteration 7: loss_mask is nan for the images 10, 11 ('
    )


class Overflowing(Toy):
    """Has gradients that the first scale of mixed precision makes infinite.

    Without mixed precision they are finite.
    """

    def losses(self, images, samples):
        losses = super().losses(images, samples)
        return dict(loss_mean=losses['loss_mean'] * 1e33)


class Hopeless(Toy):
    """Has a finite loss whose gradient is NaN."""

    def losses(self, images, samples):
        return dict(loss_mean=(self.weight * 0).sqrt())


@pytest.mark.parametrize('fused', [False, True])
def test_mixed_precision_may_skip_steps(fused, tmp_path, monkeypatch):
    amp_on_cpu(monkeypatch)
    runner = toy_runner(tmp_path, Overflowing)
    optimizer = dict(type='Adam', lr=0.1, fused=fused)
    runner.optim_wrapper.update(type='AmpOptimWrapper', optimizer=optimizer)
    runner.train()
    scaler = runner.optim_wrapper.loss_scaler
    assert 0 < scaler.get_scale() < 2**16
    assert runner.model.weight.isfinite()


def test_mixed_precision_may_not_skip_all_steps(tmp_path, monkeypatch):
    amp_on_cpu(monkeypatch)
    runner = toy_runner(tmp_path, Hopeless)
    runner.optim_wrapper.update(type='AmpOptimWrapper')
    runner.train_loop._max_epochs = 40
    with pytest.raises(FloatingPointError, match='not been finite for long'):
        runner.train()
    assert 30 < runner.iter < 50
