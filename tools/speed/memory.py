"""Peak memory, each figure from a process of its own.

On a CPU this is the growth of the process's resident set; on a GPU it is the
growth of what PyTorch's allocator has handed out.
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
from mmengine.config import Config

from .subjects import Subject, build, load_subject, read_config, test_batch
from .training import optimizer, step_seconds

MIB = 2**20


def in_child(task: Callable, *args: Any) -> Any:
    """Call a module-level function in a new process; returns its value.

    There glibc returns large blocks to the system as soon as they are freed,
    so that the resident set is the memory in use.
    """
    context = multiprocessing.get_context('spawn')
    with (
        patch.dict(os.environ, MALLOC_MMAP_THRESHOLD_=str(2**16)),
        ProcessPoolExecutor(1, mp_context=context) as pool,
    ):
        return pool.submit(task, *args).result()


def resident(field: str) -> float:
    """Resident MiB of this process: ``VmRSS`` now, ``VmHWM`` at its peak."""
    status = Path('/proc/self/status').read_text()
    return int(re.search(rf'{field}:\s+(\d+) kB', status).group(1)) / 1024


class Peak:
    """Peak memory of a device in MiB, above that when this was created."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == 'cuda':
            torch.cuda.init()  # without it, there are no statistics to reset
        self.before = self._now()
        self.restart()

    def _now(self) -> float:
        if self.device.type == 'cuda':
            return torch.cuda.memory_allocated(self.device) / MIB
        return resident('VmRSS')

    def restart(self) -> None:
        """Forget earlier peaks."""
        if self.device.type == 'cuda':
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            # Resets VmHWM to VmRSS, see proc(5)
            Path('/proc/self/clear_refs').write_text('5')

    def mib(self) -> float:
        """The peak since the last :meth:`restart`."""
        if self.device.type == 'cuda':
            peak = torch.cuda.max_memory_allocated(self.device) / MIB
        else:
            peak = resident('VmHWM')
        return peak - self.before


def testing_peak(
    name: str,
    config: str | Config,
    device: torch.device,
    image: np.ndarray,
    size: tuple[int, int],
) -> float:
    """Peak MiB of a model and of one prediction."""
    peak = Peak(device)
    subject = load_subject(name, config, device, image, size)
    peak.restart()
    subject.predict(test_batch(image, size))
    return peak.mib()


def training_peak(
    name: str,
    path: str,
    device: torch.device,
    size: tuple[int, int],
    batch: int,
) -> float:
    """Peak MiB of a model, its optimizer and a training step."""
    peak = Peak(device)
    subject = Subject(name, build(read_config(path), device), device)
    step_seconds(subject, optimizer(subject.model), size, batch)
    return peak.mib()
