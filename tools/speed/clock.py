"""Times of several things in one run, taken in turns."""

import random
import time
from collections.abc import Callable, Hashable
from typing import Any

import torch

from .stages import synchronize


def seconds(run: Callable, device: torch.device) -> float:
    """Wall seconds of a call, a GPU's work included."""
    if device.type == 'cuda':
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        synchronize(device)
        start.record()
        run()
        end.record()
        synchronize(device)
        return start.elapsed_time(end) / 1000
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turns(
    runs: dict[Hashable, Callable[[], Any]],
    rounds: int,
    report: Callable[[str], None],
    warm_up: int = 0,
) -> dict[Hashable, list]:
    """What calls return, round by round.

    Machines slow down and speed up, and what ran before leaves its traces;
    taken in turns, in an order drawn for each round, all meet the same.

    Args:
        report: told what is under way.
        warm_up: rounds before those, which do not count.
    """
    found: dict[Hashable, list] = {name: [] for name in runs}
    for turn in range(-warm_up, rounds):
        for name in random.Random(turn).sample(list(runs), len(runs)):
            report(f'{name}, round {turn + 1} of {rounds}')
            value = runs[name]()
            if turn >= 0:
                found[name].append(value)
    return found
