"""Tensors that are made on the CPU and used on another device."""

import torch
from torch import Tensor


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the CPU to a device; a GPU does not wait for it.

    Compiled code does wait. Inductor pins the memory of a copy without waiting
    and may write the next tensor there before the copy has run (PyTorch 2.11
    and 2.13). On an H100 the x and y of sample points changed places.
    """
    waits = torch.compiler.is_compiling()
    return tensor.to(device, non_blocking=not waits)
