import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tools.test_mmdet_tool import run, three_epochs

SEEDED = ['randomness.seed=1', 'default_hooks.checkpoint.max_keep_ckpts=1']


def training(shapes: Path, folder: Path) -> list:
    """The command that goes on with a training in a folder to its end, three
    epochs, of which it keeps the last checkpoint."""
    command = three_epochs(shapes, '--resume', options=SEEDED)
    command[command.index('run')] = folder
    return [str(word) for word in command]


def last_weights(folder: Path) -> dict:
    """Of the checkpoint that a run resumes from, which must be whole."""
    file = (folder / 'last_checkpoint').read_text()
    return torch.load(file, map_location='cpu')['state_dict']


def same_weights(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[key], other[key]) for key in one
    )


@pytest.fixture(scope='session')
def unbroken(shapes, tmp_path_factory) -> SimpleNamespace:
    """A training that was not killed: its folder, its weights, and the seconds
    from its log's first line to its end."""
    folder = tmp_path_factory.mktemp('unbroken')
    done = run(training(shapes, folder), folder)
    assert done.returncode == 0, done.stderr
    (log,) = folder.glob('*/*.log')
    began = time.mktime(time.strptime(log.stem, '%Y%m%d_%H%M%S'))
    return SimpleNamespace(
        folder=folder,
        weights=last_weights(folder),
        seconds=log.stat().st_mtime - began,
    )


def pytest_terminal_summary(terminalreporter) -> None:
    """The table of what was tried, how often, and what was lost."""
    terminalreporter.write_line('\n| what | times | lost |\n|---|---|---|')
    for report in terminalreporter.stats.get('passed', []):
        for what, (times, lost) in report.user_properties:
            terminalreporter.write_line(f'| {what} | {times} | {lost} |')
