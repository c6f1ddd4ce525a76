"""mmengine's checkpoints under torch's weights-only loading.

Since torch 2.6 a checkpoint may by default hold nothing but weights and plain
values. mmengine's also hold the history of the log, which a resumed run goes
on with. Exactly the names that such a history consists of are allowed here;
whatever else a file wants to call stays refused, and so is a damaged file.
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
    """What a history's pickle calls ``getattr`` for, and nothing else.

    Raises:
        UnpicklingError: Any other attribute.
    """
    if owner is not HistoryBuffer or name not in STATISTICS:
        raise pickle.UnpicklingError(
            f'the checkpoint asks for {name!r} of {owner!r}, which no '
            'checkpoint of mmengine does'
        )
    return getattr(HistoryBuffer, name)


def allow_mmengine_checkpoints() -> None:
    """Let ``torch.load`` read mmengine's checkpoints, weights-only.

    Weights-only loading is also turned on where the caller turned it off, as
    some versions of mmengine do, unless the environment already sets
    TORCH_FORCE_WEIGHTS_ONLY_LOAD.
    """
    os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    classes = {HistoryBuffer, np.ndarray, np.dtype}
    classes |= {type(np.dtype(t)) for t in (np.int64, np.float64)}
    # Under their names, which survive where a mere class does not: the forks
    # take the classes that they allow for one file out again after it.
    named = [(c, f'{c.__module__}.{c.__qualname__}') for c in classes]
    # A file written with NumPy 1 names what NumPy 2 moved, and the reverse.
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
    """mmengine's loading of a local checkpoint.

    Raises:
        UnpicklingError: It carries code, or is no whole file: torch has other
            errors for an empty file and for one that breaks off.
    """
    try:
        return load_from_local(filename, map_location)
    except (EOFError, RuntimeError) as error:
        raise pickle.UnpicklingError(f'{filename}: {error}') from error
