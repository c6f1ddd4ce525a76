"""Runs killed while they write: what remains, and how they resume."""

import errno
import os
import resource
import signal
from pathlib import Path

import pytest
import torch
from support.children import exit_codes, start
from support.dying import die_at
from support.toy_run import EPOCHS, last_weights, toy_runner

from projects.sprnet.runtime import WholeFileBackend

LAST = f'epoch_{EPOCHS}.pth'


def train(folder: Path) -> None:
    toy_runner(folder, max_keep_ckpts=1).train()


def train_and_die(folder: Path, call: int) -> None:
    die_at(call)
    train(folder)


def files(folder: Path) -> set:
    names = {path.name for path in folder.iterdir() if path.is_file()}
    return {name for name in names if not name.endswith('.py')}  # configs


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp('unbroken')
    train(folder)
    assert files(folder) == {LAST, 'last_checkpoint'}
    return folder


# The first epoch syncs and renames two files; each later one removes one too.
@pytest.mark.parametrize('call', range(1, 5 * EPOCHS))
def test_a_run_killed_while_it_writes_resumes_to_the_same_end(
    unbroken, tmp_path, call
):
    (code,) = exit_codes(start(train_and_die, tmp_path, call))
    assert code == -signal.SIGKILL
    loaded = [torch.load(path) for path in tmp_path.glob('epoch_*.pth')]
    assert len(loaded) >= (call > 2)
    assert (tmp_path / 'last_checkpoint').exists() == (call > 4)
    if call > 4:
        last_weights(tmp_path)
    train(tmp_path)
    assert last_weights(tmp_path) == last_weights(unbroken)
    assert files(tmp_path) == files(unbroken)


def train_on_a_full_disk(folder: Path, limit: int) -> None:
    """A limit on the size of files stands in for the full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with pytest.raises(OSError, match=r'epoch_2\.pth') as end:
        train(folder)
    assert end.value.errno == errno.EFBIG


def test_a_full_disk_costs_no_checkpoint(unbroken, tmp_path):
    (code,) = exit_codes(start(train_and_die, tmp_path, 5))
    assert code == -signal.SIGKILL
    limit = (unbroken / LAST).stat().st_size // 2
    assert exit_codes(start(train_on_a_full_disk, tmp_path, limit)) == [0]
    assert files(tmp_path) == {'epoch_1.pth', 'last_checkpoint'}
    train(tmp_path)
    assert last_weights(tmp_path) == last_weights(unbroken)


def test_outdated_checkpoints_are_removed_after_the_new_one_is_written(
    tmp_path, monkeypatch
):
    present = {}  # the files at the moment when one of them is removed
    remove = WholeFileBackend.remove

    def record(self, path):
        present[Path(path).name] = files(tmp_path)
        remove(self, path)

    monkeypatch.setattr(WholeFileBackend, 'remove', record)
    runner = toy_runner(
        tmp_path, max_keep_ckpts=1, save_best='toy/figure', rule='greater'
    )
    runner.train()
    for epoch in range(1, EPOCHS):
        for name in ('epoch_{}.pth', 'best_toy_figure_epoch_{}.pth'):
            assert name.format(epoch + 1) in present.pop(name.format(epoch))
    assert not present
    assert files(tmp_path) == {
        LAST,
        f'best_toy_figure_{LAST}',
        'last_checkpoint',
    }


def test_a_file_that_cannot_be_written_keeps_its_old_content(
    tmp_path, monkeypatch
):
    path = tmp_path / 'new' / 'file'
    WholeFileBackend().put(b'old', path)

    def full(_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match=f'No space left .*{path}'):
        WholeFileBackend().put_text('new', path)
    assert path.read_bytes() == b'old'
    assert files(path.parent) == {'file'}
