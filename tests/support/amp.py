"""MMDetection's mixed precision of GPUs, on a CPU."""

from functools import partial

import torch
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import amp


def amp_on_cpu(monkeypatch) -> None:
    """Let AmpOptimWrapper, train.py's --amp, train in float16 on the CPU.

    mmengine allows it GPUs only, and bfloat16 only on a CPU.
    """
    monkeypatch.setattr(
        amp_optimizer_wrapper, 'is_cuda_available', lambda: True
    )
    monkeypatch.setattr(
        amp_optimizer_wrapper,
        'GradScaler',
        partial(torch.amp.GradScaler, 'cpu'),
    )
    monkeypatch.setattr(
        amp, 'autocast', lambda dtype: torch.autocast('cpu', torch.float16)
    )
