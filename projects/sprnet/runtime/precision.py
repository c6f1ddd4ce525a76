"""Faster arithmetic: bfloat16, and the channels-last memory order."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmdet.registry import HOOKS, OPTIM_WRAPPERS
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner, autocast
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Mixed precision in training, on a CPU too.

    mmengine's AmpOptimWrapper refuses to work without a GPU. Bfloat16 has the
    range of single precision, so losses need no scaling.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """The forward pass of ``model`` in bfloat16 where PyTorch deems it
        safe."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep a model's convolutions in channels-last memory order.

    That is how the libraries below PyTorch compute them; results differ by
    rounding, checkpoints do not.
    """

    def before_run(self, runner: Runner) -> None:
        """Reorder the weights; what they meet follows their order."""
        runner.model.to(memory_format=torch.channels_last)
