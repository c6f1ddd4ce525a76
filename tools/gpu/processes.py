"""Commands with a time limit."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common import ROOT

LINES = 30  # of a failed command's output in the report


class PartError(Exception):
    """Why a part of the check failed."""


class Run(NamedTuple):
    """What every part needs."""

    folder: Path  # for everything that the check writes
    device: str  # such as 'cuda:0'
    end: float  # time.monotonic() at which the part is stopped

    @property
    def rehearsal(self) -> bool:
        """Whether the parts run small, without a GPU."""
        return self.device == 'cpu'

    def left(self) -> float:
        """Seconds that are left."""
        return max(self.end - time.monotonic(), 0)


def call(
    run: Run, log: Path, words: Sequence[object], **environment: str
) -> None:
    """Run a command of this repository in its root, and log its output.

    Args:
        run: Says when it is stopped.
        log: File for the output.
        words: A Python script or ``-m MODULE``, or a shell script, with
            arguments.
        environment: More environment variables.

    Raises:
        PartError: It failed, or its time is over; with the end of its output.
    """
    words = [str(word) for word in words]
    python = [] if words[0].endswith('.sh') else [sys.executable]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open('w') as output:
        process = subprocess.Popen(
            [*python, *words],
            cwd=ROOT,
            env={**os.environ, 'PYTHON': sys.executable, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its children end with it
        )
        try:
            code = process.wait(run.left())
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code is None:
        raise PartError(f'{words[0]} was stopped: the time is over')
    if code:
        text = log.read_text(errors='replace').splitlines()
        raise PartError('\n'.join([f'{words[0]} failed:', *text[-LINES:]]))
