"""Times of several functions, measured in turns."""

import random
import time
from collections.abc import Callable, Hashable
from typing import Any

import torch


def now(device: torch.device) -> float:
    """Read a clock in seconds, once the device has finished its work."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(run: Callable, device: torch.device) -> float:
    """Wall seconds of a call, including its work on a GPU."""
    start = now(device)
    run()
    return now(device) - start


def in_turns(
    runs: dict[Hashable, Callable[[], Any]],
    rounds: int,
    report: Callable[[str], None],
    warm_up: int = 0,
) -> dict[Hashable, list]:
    """Call each function once a round, in a random order for each round.

    The speed of a machine drifts, and each run leaves caches and memory in
    another state for the next. In turns, all functions are affected alike.

    Args:
        runs: functions to call, by name.
        rounds: number of rounds that count.
        report: shows a line of progress.
        warm_up: number of rounds before these, whose results are dropped.

    Returns:
        The values that each function returned, in the order of the rounds.
    """
    values: dict[Hashable, list] = {name: [] for name in runs}
    for turn in range(-warm_up, rounds):
        for name in random.Random(turn).sample(list(runs), len(runs)):
            report(f'{name}, round {turn + 1} of {rounds}')
            value = runs[name]()
            if turn >= 0:
                values[name].append(value)
    return values
