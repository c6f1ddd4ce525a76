"""Progress: a bar that moves in a terminal, a line now and then in a file."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TextIO, TypeVar

from rich.progress import track as bar

Item = TypeVar('Item')
SOON, SELDOM = 5, 60  # seconds before the first line; at most between two


def track(
    items: Iterable[Item], what: str, total: int | None = None
) -> Iterator[Item]:
    """Yield the items, and show how many are done.

    Args:
        items: What is worked on.
        what: Their name.
        total: Their number; by default their length, if they have one.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stdout.isatty():
        yield from bar(items, what, total)
        return
    status, done = Status(sys.stdout), 0
    for done, item in enumerate(items, start=1):
        yield item
        status(f'{what}: {done}{f" of {total}" if total else ""}')
    if done:
        status(f'{what}: {done}', last=True)


class Status:
    """Show what is being done.

    In a terminal it is one line that changes. In a file it is a line now and
    then: the time between two doubles, up to a minute.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._start = time.monotonic()
        self._due = SOON

    def __call__(self, text: str, last: bool = False) -> None:
        """Show ``text``; a file gets the ``last`` one in any case."""
        if self._stream.isatty():
            self._write(f'\r\033[K{text}')
            return
        seconds = time.monotonic() - self._start
        if text and (last or seconds >= self._due):
            self._write(f'{text}, {seconds:.0f} s\n')
            self._due = seconds + min(max(seconds, SOON), SELDOM)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
