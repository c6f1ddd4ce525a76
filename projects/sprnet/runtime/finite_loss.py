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

# Some 36 skipped steps after mixed precision has started
LEAST_SCALE = 1e-6


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop training before a NaN or an infinity reaches the weights.

    The hook checks the losses after each forward pass and the gradients
    before each optimizer step. (mmdet's CheckInvalidLossHook checks every
    50th iteration, after the step.) All ranks stop together with the same
    message.

    In mixed precision with a scaled loss, PyTorch skips steps with infinite
    gradients and lowers the scale. The hook stops if that never ends.

    Raises:
        FloatingPointError: Names the iteration, the bad losses and the ids of
            the batch's images.
    """

    def before_train(self, runner: Runner) -> None:
        """Start watching the model and the optimizer."""
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        self._scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        self._handles = [
            model.register_forward_hook(
                partial(self._check_losses, runner), with_kwargs=True
            )
        ]
        if self._scaler is None:
            optimizer = runner.optim_wrapper.optimizer
            self._handles.append(
                optimizer.register_step_pre_hook(
                    partial(self._check_gradients, runner)
                )
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
        sound = total.isfinite()
        if self._scaler is not None:
            # By the product, since reading the scale makes a GPU wait
            sound &= self._scaler.scale(torch.ones_like(total)) > LEAST_SCALE
        broken = 1 - sound.float()
        # A rank that stopped alone would leave the other ranks waiting.
        all_reduce(broken, 'max')
        if broken:
            faults = [
                f'{name} is {means[name].item()}'
                for name in losses
                if 'loss' in name and not means[name].isfinite()
            ]
            if not (faults or sound):
                faults = ['the gradients have not been finite for long']
            self._stop(runner, ', '.join(faults))

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
        # The 2-norm is fast on a CPU, but its sum of squares can overflow.
        if all(
            not get_total_norm(gradients, norm_type=norm).isfinite()
            for norm in (2, torch.inf)
        ):
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
