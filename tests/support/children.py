"""Functions in child processes that start without threads.

PyTorch's engine refuses a gradient in a fork of a process that has computed
one, if its build knows any accelerator. So children fork from a server that
has only imported what they need.
"""

from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess

CONTEXT = get_context('forkserver')
CONTEXT.set_forkserver_preload(['support.toy_run', 'projects.sprnet'])


def start(function: Callable, *args: object) -> BaseProcess:
    """Start a function of a test module in a child."""
    child = CONTEXT.Process(target=function, args=args)
    child.start()
    return child


def exit_codes(*children: BaseProcess) -> list[int]:
    """Wait for children; a signal that ended one is a negative code."""
    for child in children:
        child.join()
    return [child.exitcode for child in children]
