"""What a terminal and a file show of a command's progress."""

import io
import logging
import sys

from common import progress
from common.progress import Status, track
from common.quiet_runner import TerminalFilter

import pytest


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock; ``clock.now`` sets its seconds."""

    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress, 'time', clock)
    return clock


def test_a_file_gets_a_line_now_and_then(clock, monkeypatch):
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    for second in track(range(1, 301), 'pictures'):
        clock.now = second
    lines = sys.stdout.getvalue().splitlines()
    assert lines == [
        'pictures: 5 of 300, 5 s',
        'pictures: 10 of 300, 10 s',
        'pictures: 20 of 300, 20 s',
        'pictures: 40 of 300, 40 s',
        'pictures: 80 of 300, 80 s',
        'pictures: 140 of 300, 140 s',
        'pictures: 200 of 300, 200 s',
        'pictures: 260 of 300, 260 s',
        'pictures: 300, 300 s',
    ]


def test_a_short_work_is_one_line(monkeypatch):
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    assert list(track(iter('abc'), 'letters')) == ['a', 'b', 'c']
    assert sys.stdout.getvalue() == 'letters: 3, 0 s\n'
    assert list(track([], 'nothing')) == []
    assert sys.stdout.getvalue().count('\n') == 1


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setattr(sys, 'stdout', Terminal())
    assert list(track(range(3), 'pictures')) == [0, 1, 2]
    assert 'pictures' in sys.stdout.getvalue()
    assert '100%' in sys.stdout.getvalue()


def test_a_status_is_one_line_of_a_terminal(clock):
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        status = Status(stream)
        for clock.now, text in ((0, 'one'), (9, 'two'), (99, '')):
            status(text)
        clock.now = 0
    assert terminal.getvalue().split('\r\033[K') == ['', 'one', 'two', '']
    assert file.getvalue() == 'two, 9 s\n'


TABLE = 'average precisions and recalls\n+--+'
FIGURES = 'Epoch(val) [2][5/5]    coco/bbox_mAP: 0.1000  time: 0.1'


@pytest.mark.parametrize(
    'messages,shown',
    [
        (['\n------\nSystem environment:\n', 'Config:\na = 1', 'x'], ['x']),
        (['Hooks will be executed in the following order:\n'], []),
        ([TABLE, FIGURES], [TABLE]),
        ([FIGURES], [FIGURES]),
        ([TABLE, FIGURES, FIGURES], [TABLE, FIGURES]),
        (['Epoch(train) [1][50/90]  loss: 1', 'Configs: no'], None),
    ],
)
def test_a_terminal_shows_each_figure_once(messages, shown):
    terminal = TerminalFilter()
    passed = [
        text
        for text in messages
        if terminal.filter(
            logging.LogRecord('', logging.INFO, '', 0, text, None, None)
        )
    ]
    assert passed == (messages if shown is None else shown)
