"""Load mmengine's checkpoints with torch's weights-only unpickler.

Since torch 2.6 ``torch.load`` accepts only weights and plain values by
default. mmengine's checkpoints also hold the history of the log, which a
resumed run continues. This module allows exactly the names in that history.
Checkpoints that call anything else, and damaged files, are refused.
"""

import os
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_local

try:
    from numpy._core import multiarray
except ImportError:  # NumPy 1
    from numpy.core import multiarray

STATISTICS = ('min', 'max', 'current', 'mean')


def history_statistic(owner: type, name: str) -> Callable:
    """Look up a statistic of HistoryBuffer.

    It replaces ``getattr``, which the pickle of a history calls for these
    statistics only.

    Raises:
        UnpicklingError: The pickle asks for any other attribute.
    """
    if owner is not HistoryBuffer or name not in STATISTICS:
        raise pickle.UnpicklingError(
            f'the checkpoint asks for {name!r} of {owner!r}, which no '
            'checkpoint of mmengine does'
        )
    return getattr(HistoryBuffer, name)


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read mmengine's checkpoints, weights-only.

    This turns weights-only loading on even where the caller turns it off, as
    some versions of mmengine do, unless the environment already sets
    TORCH_FORCE_WEIGHTS_ONLY_LOAD.
    """
    os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    classes = {HistoryBuffer, np.ndarray, np.dtype}
    classes |= {type(np.dtype(t)) for t in (np.int64, np.float64)}
    # Each class with its name, because the forks of mmengine allow the bare
    # classes while they load a file, and then remove them from the list.
    named = [(c, f'{c.__module__}.{c.__qualname__}') for c in classes]
    # NumPy 2 renamed numpy.core to numpy._core; files of both must load.
    moved = [
        (getattr(multiarray, name), f'numpy.{core}.multiarray.{name}')
        for name in ('_reconstruct', 'scalar')
        for core in ('core', '_core')
    ]
    torch.serialization.add_safe_globals(
        [*named, *moved, (history_statistic, 'builtins.getattr')]
    )


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local_file(filename: str, map_location: Any) -> dict:
    """Load a local checkpoint; replaces mmengine's loader of local files.

    Raises:
        UnpicklingError: The file contains code or is damaged. (torch raises
            other errors for empty and truncated files.)
    """
    try:
        return load_from_local(filename, map_location)
    except (EOFError, RuntimeError) as error:
        raise pickle.UnpicklingError(f'{filename}: {error}') from error
