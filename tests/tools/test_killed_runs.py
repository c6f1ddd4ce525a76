"""The messages with which a training stops.

tests/sprnet/runtime/test_atomic_checkpoints.py tests what killed runs leave
behind; tests/soak/ has the long series.
"""

import errno
import os

import pytest
from support.commands import run_here, small
from support.helpers import SHAPES_CONFIG


def full_disk(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    'option, fsync, message',
    [
        (
            'model.mask_head.loss_mask.loss_weight=nan',
            os.fsync,
            r'^train\.py: iteration 1: loss_mask is nan.* \d+, \d+, \d+, \d+ ',
        ),
        (
            'randomness.seed=1',
            full_disk,
            r"^train\.py: .* No space left on device: '.*/epoch_1\.pth'$",
        ),
    ],
    ids=['NaN loss', 'full disk'],
)
def test_ends_in_one_sentence_and_leaves_no_bad_checkpoint(
    option, fsync, message, shapes, tmp_path, monkeypatch
):
    options = small(shapes, option, 'train_dataloader.num_workers=0')
    monkeypatch.setattr(os, 'fsync', fsync)
    with pytest.raises(SystemExit, match=message) as end:
        run_here(
            tmp_path,
            'train.py',
            SHAPES_CONFIG,
            '--work-dir',
            tmp_path,
            *options,
        )
    assert '\n' not in end.value.code
    assert not list(tmp_path.glob('*.pth*'))
    assert not (tmp_path / 'last_checkpoint').exists()
