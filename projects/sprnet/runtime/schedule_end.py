"""A resumed training that outlasts its learning rate schedule."""

from itertools import chain

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

WARM_UPS = ('ConstantLR', 'LinearLR')


@HOOKS.register_module()
class ScheduleEndHook(Hook):
    """Warn if a resumed training goes on after its schedule has ended.

    A checkpoint brings its schedule along. If the config now asks for more
    epochs, these train at the schedule's last learning rate.
    """

    def before_train(self, runner: Runner) -> None:
        """Compare the end of the schedule with that of the training."""
        schedulers = runner.param_schedulers or []
        if isinstance(schedulers, dict):
            schedulers = chain.from_iterable(schedulers.values())
        ends = [
            s.end * (len(runner.train_dataloader) if s.by_epoch else 1)
            for s in schedulers
            if type(s).__name__ not in WARM_UPS
        ]
        if runner.iter and ends and max(ends) < runner.max_iters:
            runner.logger.warning(
                "The checkpoint's learning rate schedule ends at iteration "
                f'{max(ends)} of {runner.max_iters}. The rest trains at its '
                'last learning rate. To follow the new schedule, start from '
                'the checkpoint with load_from instead of --resume.'
            )
