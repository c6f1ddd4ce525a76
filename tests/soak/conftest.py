import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.commands import run, three_epochs, weights

SEEDED = ['randomness.seed=1', 'default_hooks.checkpoint.max_keep_ckpts=1']


def resumable(shapes: Path, folder: Path) -> list[str]:
    """The command that starts a training in a folder, or continues it.

    It trains three epochs and keeps the last checkpoint.
    """
    return three_epochs(shapes, '--resume', folder=folder, options=SEEDED)


def last_weights(folder: Path) -> dict:
    """The weights that a run in this folder resumes from."""
    return weights((folder / 'last_checkpoint').read_text())


@pytest.fixture(scope='session')
def unbroken(shapes, tmp_path_factory) -> SimpleNamespace:
    """A training that was not killed.

    Its folder, its weights, and the seconds from the first line of its log to
    its end.
    """
    folder = tmp_path_factory.mktemp('unbroken')
    done = run(resumable(shapes, folder), folder)
    assert done.returncode == 0, done.stderr
    (log,) = folder.glob('*/*.log')
    began = time.mktime(time.strptime(log.stem, '%Y%m%d_%H%M%S'))
    return SimpleNamespace(
        folder=folder,
        weights=last_weights(folder),
        seconds=log.stat().st_mtime - began,
    )


def pytest_terminal_summary(terminalreporter) -> None:
    """Print the table of what was tried, how often, and what was lost."""
    terminalreporter.write_line('\n| what | times | lost |\n|---|---|---|')
    for report in terminalreporter.stats.get('passed', []):
        for what, (times, lost) in report.user_properties:
            terminalreporter.write_line(f'| {what} | {times} | {lost} |')
