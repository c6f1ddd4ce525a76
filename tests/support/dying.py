"""A process that kills itself while it writes checkpoints."""

import itertools
import os
import signal
from collections.abc import Callable, Sequence


def die_at(
    call: int, names: Sequence[str] = ('fsync', 'replace', 'remove')
) -> None:
    """Kill this process at the call-th call of the named functions of os.

    At an fsync, half of the file has been written.
    """
    calls = itertools.count(1)

    def replacement(name: str, function: Callable) -> Callable:
        def wrapper(*args):
            if next(calls) == call:
                if name == 'fsync':
                    os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args)

        return wrapper

    for name in names:
        setattr(os, name, replacement(name, getattr(os, name)))
