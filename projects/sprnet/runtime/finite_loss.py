from functools import partial
from typing import Any

import torch
from mmdet.registry import HOOKS
from mmengine.dist import all_gather_object, all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop training before a NaN or an infinity reaches the weights.

    The hook checks the losses after each forward pass and the gradients
    before each optimizer step. (mmdet's CheckInvalidLossHook checks every
    50th iteration, after the step.) All ranks stop together with the same
    message.

    Raises:
        FloatingPointError: Names the iteration, the bad losses and the ids of
            the batch's images.
    """

    def before_train(self, runner: Runner) -> None:
        """Start watching the model and the optimizer."""
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        optimizer = runner.optim_wrapper.optimizer
        self._handles = (
            model.register_forward_hook(
                partial(self._check_losses, runner), with_kwargs=True
            ),
            optimizer.register_step_pre_hook(
                partial(self._check_gradients, runner)
            ),
        )

    def after_train(self, runner: Runner) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()

    @torch.no_grad()
    def _check_losses(
        self,
        runner: Runner,
        model: nn.Module,
        args: tuple,
        kwargs: dict[str, Any],
        losses: dict[str, Any],
    ) -> None:
        """Forward hook of the model."""
        if kwargs.get('mode') != 'loss':
            return
        self._image_ids = ', '.join(
            str(sample.img_id) for sample in kwargs['data_samples']
        )
        total, means = model.parse_losses(losses)
        broken = 1 - total.isfinite().float()
        # A rank that stopped alone would leave the other ranks waiting.
        all_reduce(broken, 'max')
        if broken:
            self._stop(
                runner,
                ', '.join(
                    f'{name} is {means[name].item()}'
                    for name in losses
                    if 'loss' in name and not means[name].isfinite()
                ),
            )

    def _check_gradients(
        self, runner: Runner, optimizer: Optimizer, *_: Any
    ) -> None:
        """Pre-hook of the optimizer's step."""
        gradients = [
            p.grad
            for group in optimizer.param_groups
            for p in group['params']
            if p.grad is not None
        ]
        # The infinity norm, because a sum of squares could overflow.
        if not get_total_norm(gradients, norm_type=torch.inf).isfinite():
            self._stop(runner, 'the gradients are not finite')

    def _stop(self, runner: Runner, fault: str) -> None:
        """Raise the faults of all ranks; ``fault`` is '' on a sound rank."""
        if fault:
            fault += f' for the images {self._image_ids}'
        faults = '; '.join(filter(None, all_gather_object(fault)))
        raise FloatingPointError(
            f'iteration {runner.iter + 1}: {faults} (training stopped before '
            'the weights changed; check these images and their annotations, '
            'or lower the learning rate)'
        )
