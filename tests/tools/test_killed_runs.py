"""How a training says that it cannot go on.

What killed runs leave is in tests/sprnet/test_whole_checkpoints.py, the long
series in tests/soak/.
"""

import errno
import os
import re

import pytest
from common.mmdet_scripts import run_script
from support.helpers import SHAPES_CONFIG
from tools.test_mmdet_tool import command


def full_disk(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    'option,fsync,sentence',
    [
        (
            'model.mask_head.loss_mask.loss_weight=nan',
            os.fsync,
            r'train\.py: iteration 1: loss_mask is nan, of the images '
            r'\d+, \d+, \d+, \d+ \(.*\)',
        ),
        (
            'randomness.seed=1',
            full_disk,
            r"train\.py: .* No space left on device: '.*/epoch_1\.pth'",
        ),
    ],
    ids=['NaN loss', 'full disk'],
)
def test_ends_in_a_sentence_and_leaves_no_bad_checkpoint(
    option, fsync, sentence, shapes, tmp_path, monkeypatch
):
    argv = command(
        'train.py',
        shapes,
        SHAPES_CONFIG,
        '--work-dir',
        tmp_path,
        options=[option, 'train_dataloader.num_workers=0'],
    )
    monkeypatch.setattr('sys.argv', [str(word) for word in argv[1:]])
    monkeypatch.setattr(os, 'fsync', fsync)
    with pytest.raises(SystemExit) as end:
        run_script('train.py')
    assert re.fullmatch(sentence, end.value.code), end.value.code
    assert not list(tmp_path.glob('*.pth*'))
    assert not (tmp_path / 'last_checkpoint').exists()
