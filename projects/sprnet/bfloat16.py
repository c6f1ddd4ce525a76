from contextlib import contextmanager
from typing import Iterator

import torch
from mmdet.registry import OPTIM_WRAPPERS
from mmengine.optim import OptimWrapper
from mmengine.runner import autocast
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
