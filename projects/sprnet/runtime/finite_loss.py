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
    """Stop a training before a NaN or an infinity gets into its weights.

    Losses are looked at between the forward and the backward pass, gradients
    before the optimizer's step. (mmdet's CheckInvalidLossHook comes after the
    step, every 50th iteration.) All ranks stop together and say the same.

    Raises:
        FloatingPointError: Names the iteration, the losses at fault and the
            ids of the batch's images.
    """

    def before_train(self, runner: Runner) -> None:
        """Watch the model and the optimizer."""
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
        """Watch no longer."""
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
        """What the model calls after each forward pass."""
        if kwargs.get('mode') != 'loss':
            return
        self._images = ', '.join(
            str(sample.img_id) for sample in kwargs['data_samples']
        )
        total, means = model.parse_losses(losses)
        broken = 1 - total.isfinite().float()
        all_reduce(broken, 'max')  # a rank that stops alone leaves others hung
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
        """What the optimizer calls before each step."""
        gradients = [
            p.grad
            for group in optimizer.param_groups
            for p in group['params']
            if p.grad is not None
        ]
        # The largest element's: a sum of squares could overflow.
        if not get_total_norm(gradients, norm_type=torch.inf).isfinite():
            self._stop(runner, 'the gradients are not finite')

    def _stop(self, runner: Runner, fault: str) -> None:
        """End with what is at fault on this rank ('': nothing) and others."""
        if fault:
            fault += f', of the images {self._images}'
        faults = '; '.join(filter(None, all_gather_object(fault)))
        raise FloatingPointError(
            f'iteration {runner.iter + 1}: {faults} (stopped before the step '
            'that would have spoilt the weights; see whether these images and '
            'their annotations are sound, or lower the learning rate)'
        )
