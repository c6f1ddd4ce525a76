import time
from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import DataLoader

from .datasets import inner_datasets

# Iterations whose time tells an epoch's, after those that are slower
SLOW, TIMED = 5, 15


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Log what is run before it starts, and how long an epoch will take.

    The lines name the config, the detector with its size, the device, the
    data, and the log file with all the rest.
    """

    def before_train(self, runner: Runner) -> None:
        """Log what is trained."""
        loader, epochs = runner.train_dataloader, runner.max_epochs
        length = f'{len(loader)} iterations an epoch, epochs: {epochs}'
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            length = f'{runner.max_iters} iterations'
        _log(runner, _model(runner), f'training: {_data(loader)}, {length}')
        if runner.val_loop is not None:
            _log(runner, f'validation: {_data(runner.val_dataloader)}')
        _log(runner, f'results and log: {runner.log_dir}')
        self._iterations = 0

    def after_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Log how long an epoch takes, as soon as that is known."""
        self._iterations += 1
        if self._iterations == SLOW:
            self._start = time.monotonic()
        elif self._iterations == SLOW + TIMED:
            each = (time.monotonic() - self._start) / TIMED
            seconds = each * len(runner.train_dataloader)
            _log(runner, f'an epoch will take about {duration(seconds)}')

    def before_test(self, runner: Runner) -> None:
        """Log what is tested."""
        _log(
            runner,
            _model(runner),
            f'test: {_data(runner.test_dataloader)}',
            f'results and log: {runner.log_dir}',
        )


def duration(seconds: float) -> str:
    """Write a duration with two units at most.

    >>> duration(8000)
    '2 h 13 min'
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f'{hours} h {minutes} min'
    return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


def _log(runner: Runner, *lines: str) -> None:
    for line in lines:
        runner.logger.info(line)


def _model(runner: Runner) -> str:
    model = runner.model
    if is_model_wrapper(model):
        model = model.module
    parameters = list(model.parameters())
    device = parameters[0].device.type
    total = sum(p.numel() for p in parameters) / 1e6
    trained = sum(p.numel() for p in parameters if p.requires_grad) / 1e6
    ranks = get_world_size()
    return (
        f'{Path(runner.cfg.filename or "config").stem}: '
        f'{type(model).__name__} with {total:.1f} million parameters'
        f'{f", {trained:.1f} of them trained" if trained < total else ""}, '
        f'on the {dict(cpu="CPU", cuda="GPU").get(device, device)}'
        f'{f", {ranks} ranks" if ranks > 1 else ""}'
    )


def _data(loader: DataLoader) -> str:
    dataset = loader.dataset
    files = {getattr(d, 'ann_file', None) for d in inner_datasets(dataset)}
    names = ' and '.join(sorted(files - {None, ''}))
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', '')
    ranks = get_world_size()
    each = f'{size} on each of {ranks} ranks' if ranks > 1 else f'{size}'
    return (
        f'{len(dataset)} pictures{f" of {names}" if names else ""}, '
        f'batches of {each}'
    )
