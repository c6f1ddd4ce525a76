"""Wrong input ends in one sentence; any other error keeps its traceback."""

import re
import subprocess
import sys
from pathlib import Path

from common.cli import one_sentence

import pytest
from mmengine.utils import check_file_exist
from shapes_data.scenes import CLASSES
from support.coco_files import write
from support.commands import run_here, small
from support.helpers import ROOT, SHAPES_CONFIG
from torch.utils.data import DataLoader

from projects.sprnet.runtime import CheckedCocoDataset

# What `one_sentence` and argparse report, and RuntimeError for what may be a
# bug of a user's transform; gpu_check.py reports its parts' errors
REPORTED = {
    'PartError',
    'RuntimeError',
    'FloatingPointError',
    'DecompressionBombError',
    'InputError',
    'OSError',
    'ArgumentTypeError',
    'UnpicklingError',
}


def test_an_option_that_is_refused(shapes, tmp_path):
    arguments = [SHAPES_CONFIG, *small(shapes, 'model.neck.gate=none')]
    with pytest.raises(SystemExit) as end:
        run_here(tmp_path, 'train.py', *arguments)
    assert end.value.code.startswith("train.py: GFPN: gate='none' must be")


def test_an_image_that_a_worker_of_a_loader_cannot_read(tmp_path):
    write(tmp_path)
    (tmp_path / '1.jpg').write_bytes(b'not an image')
    dataset = CheckedCocoDataset(
        ann_file=str(tmp_path / 'coco.json'),
        data_prefix=dict(img=str(tmp_path)),
        metainfo=dict(classes=CLASSES),
        pipeline=[dict(type='LoadImageFromFile')],
    )
    loader = DataLoader(dataset, num_workers=1)
    with pytest.raises(SystemExit) as end, one_sentence('train.py'):
        next(iter(loader))
    sentence = end.value.code
    assert sentence.startswith(f'train.py: {tmp_path}/coco.json, image 1, ')
    assert sentence.endswith('lists all such faults')


@pytest.mark.parametrize(
    'name,hint', [('cells.py', 0), ('5.pth', 0), ('cells', 0), ('a.json', 1)]
)
def test_a_missing_file_of_the_data_may_be_in_another_folder(name, hint):
    def mmengines():
        check_file_exist(name)

    for read in (mmengines, Path(name).read_text):
        with pytest.raises(SystemExit) as end, one_sentence('train.py'):
            read()
        assert name in end.value.code
        assert ('data_root=FOLDER' in end.value.code) == hint


def test_a_python_without_torch():
    script = ROOT / 'tools' / 'train.py'
    # -S leaves the installed packages out.
    command = [sys.executable, '-S', script]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.startswith('train.py: ') and ' no torch; ' in (
        ended.stderr
    )
    assert ended.stderr.count('\n') == 1


def test_a_bug_keeps_its_traceback():
    for error in (AttributeError, KeyError, TypeError, ValueError):
        with pytest.raises(error), one_sentence('train.py'):
            raise error('a bug')


def test_every_error_that_we_raise_is_reported():
    for folder in ('projects', 'tools'):
        for file in (ROOT / folder).rglob('*.py'):
            if file.name == 'setup_core_ops.py':  # runs before mmdet is there
                continue
            raised = re.findall(
                r'^ +raise (?:\w+\.)?(\w+)\(', file.read_text(), re.M
            )
            assert set(raised) <= REPORTED, file
