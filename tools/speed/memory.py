"""Peak memory, each figure in a process of its own.

On a CPU it is the resident set that is measured, above what the process had
before there was a model; on a GPU what PyTorch's allocator gave out.
"""

import multiprocessing
import os
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from .subjects import Subject, build, prepare, read_config, test_batch
from .training import optimizer, step

MIB = 2**20


def in_child(task: Callable, *args: Any) -> Any:
    """What a module's function returns in a fresh process.

    In it glibc gives large blocks back when they are freed, so that what is
    resident is what is in use.
    """
    context = multiprocessing.get_context('spawn')
    with (
        patch.dict(os.environ, MALLOC_MMAP_THRESHOLD_=str(2**16)),
        ProcessPoolExecutor(1, mp_context=context) as pool,
    ):
        return pool.submit(task, *args).result()


def resident(field: str) -> float:
    """MiB of this process: ``VmRSS`` now, or ``VmHWM`` at most."""
    status = Path('/proc/self/status').read_text()
    return int(re.search(rf'{field}:\s+(\d+) kB', status).group(1)) / 1024


class Peak:
    """The most memory in use, in MiB over what was when this was made.

    Args:
        device: whose memory.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.before = self._now()
        self.restart()

    def _now(self) -> float:
        if self.device.type == 'cuda':
            return torch.cuda.memory_allocated(self.device) / MIB
        return resident('VmRSS')

    def restart(self) -> None:
        """Forget what was in use until now."""
        if self.device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            # Makes the highest mark the present one, see proc(5).
            Path('/proc/self/clear_refs').write_text('5')

    def mib(self) -> float:
        """The most since."""
        if self.device.type == 'cuda':
            most = torch.cuda.max_memory_allocated(self.device) / MIB
        else:
            most = resident('VmHWM')
        return most - self.before


def testing_peak(
    name: str,
    path: str,
    device: torch.device,
    image: np.ndarray,
    size: tuple[int, int],
) -> float:
    """MiB of a model and of its way from a picture to its results."""
    peak = Peak(device)
    one = Subject(name, build(read_config(path), device), device)
    prepare(one, image, size)
    peak.restart()
    one.predict(test_batch(image, size))
    return peak.mib()


def training_peak(
    name: str,
    path: str,
    device: torch.device,
    size: tuple[int, int],
    batch: int,
) -> float:
    """MiB of a model, its optimizer and a training step."""
    peak = Peak(device)
    one = Subject(name, build(read_config(path), device), device)
    step(one, optimizer(one.model), size, batch)
    return peak.mib()
