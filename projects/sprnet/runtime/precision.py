"""Faster arithmetic: bfloat16 and the channels-last memory format."""

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
    """Train in mixed precision, on a CPU too.

    mmengine's AmpOptimWrapper requires a GPU. Losses need no scaling, because
    bfloat16 has the range of float32.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass under PyTorch's autocast to bfloat16."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep a model's weights in the channels-last memory format.

    The convolution libraries below PyTorch prefer it. Results differ by
    rounding; checkpoints do not change. Operators of mmcv, such as RoIAlign,
    read any memory as if it were contiguous, so they get such tensors.
    """

    def before_run(self, runner: Runner) -> None:
        """Convert the weights; feature maps follow their format."""
        runner.model.to(memory_format=torch.channels_last)
        for module in runner.model.modules():
            if type(module).__module__.startswith('mmcv.ops.'):
                module.to(memory_format=torch.contiguous_format)
                module.register_forward_pre_hook(_contiguous)


def _contiguous(
    module: nn.Module, inputs: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, ...]:
    return tuple(x.contiguous() for x in inputs)
