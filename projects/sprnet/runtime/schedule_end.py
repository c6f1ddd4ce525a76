"""A resumed training that ends before or after its learning rate schedule."""

from itertools import chain

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import EpochBasedTrainLoop, Runner

WARM_UPS = ('ConstantLR', 'LinearLR')


@HOOKS.register_module()
class ScheduleEndHook(Hook):
    """Warn if a resumed training and its schedule end at different times.

    A checkpoint brings its schedule along. If the config now asks for more
    epochs or a smaller batch, the last iterations train at the schedule's last
    learning rate. With a larger batch or fewer epochs, the training ends
    before the learning rate has come down.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the end of the schedule with that of the training."""
        schedulers = runner.param_schedulers or []
        if isinstance(schedulers, dict):
            schedulers = chain.from_iterable(schedulers.values())
        length, shift = len(runner.train_dataloader), shift_of(runner)
        last = runner.max_iters + shift
        ends = [
            s.end * length + shift if s.by_epoch else s.end
            for s in schedulers
            if type(s).__name__ not in WARM_UPS and s.end < INF
        ]
        if not runner.iter or not ends or max(ends) == last:
            return
        end = max(ends)
        effect = (
            'The rest trains at its last learning rate.'
            if end < last
            else 'The training ends before the learning rate has come down.'
        )
        runner.logger.warning(
            "The checkpoint's learning rate schedule ends at iteration "
            f'{end}, the training at {last}. {effect} To follow the new '
            'schedule, start from the checkpoint with load_from instead of '
            '--resume; to follow the old one, keep the total batch size and '
            'the epochs.'
        )


def shift_of(runner: Runner) -> int:
    """By how many iterations a run is ahead of its epochs, whose length has
    changed with the total batch size."""
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        return 0
    length = len(runner.train_dataloader)
    ahead = runner.iter - runner.epoch * length
    return 0 if 0 <= ahead < length else ahead  # within an epoch
