import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT


@pytest.fixture(scope='session')
def shapes(tmp_path_factory) -> Path:
    """A small shapes data set."""
    out = tmp_path_factory.mktemp('data') / 'shapes'
    subprocess.run(
        [
            sys.executable,
            ROOT / 'tools' / 'make_shapes.py',
            out,
            '--train',
            '12',
            '--val',
            '5',
            '--size',
            '96',
        ],
        check=True,
    )
    return out
