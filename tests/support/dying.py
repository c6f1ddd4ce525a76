"""A process that kills itself while it writes checkpoints."""

import os
import signal
from collections.abc import Callable, Sequence


def die_at(
    call: int, names: Sequence[str] = ('fsync', 'replace', 'remove')
) -> None:
    """Send this process SIGKILL in place of the call-th of those calls of os;
    at fsync, when half of the file is there."""
    left = [call]

    def counted(name: str, function: Callable) -> Callable:
        def wrapper(*args):
            left[0] -= 1
            if not left[0]:
                if name == 'fsync':
                    os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args)

        return wrapper

    for name in names:
        setattr(os, name, counted(name, getattr(os, name)))
