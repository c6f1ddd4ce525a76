"""Ranks end with their launcher; PyTorch's own would leave them running."""

import ctypes
import os
import signal
import sys

LAUNCHER = 'SPRNET_LAUNCHER'  # environment variable with its process id
PR_SET_PDEATHSIG = 1


def end_with_launcher() -> None:
    """Let the kernel kill this rank as soon as its launcher is gone.

    A process that tools/launch.py did not start, and one that does not run on
    Linux, stays as it is.
    """
    launcher = os.environ.get(LAUNCHER)
    if launcher is None or sys.platform != 'linux':
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    try:
        os.kill(int(launcher), 0)  # it may have ended before prctl
    except ProcessLookupError:
        sys.exit('the launcher of this rank has ended')
