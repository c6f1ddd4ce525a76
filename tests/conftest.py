import subprocess
import sys
from functools import cache
from pathlib import Path

import mmengine.config.config
import mmengine.config.utils
import pytest
from mmdet.visualization import DetLocalVisualizer
from mmengine.visualization import Visualizer
from support.helpers import ROOT

from projects.sprnet.runtime import FolderVisualizer

# For each base in MMDetection, mmengine reads its hundred index files again,
# and for each log and copy of a config, seconds go into line breaks.
mmengine.config.utils.load = cache(mmengine.config.utils.load)
mmengine.config.config.FormatCode = lambda text, **_: (text, False)


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


@pytest.fixture(scope='module', autouse=True)
def own_visualizer():
    """mmengine draws with whichever visualizer was made last; one of another
    file's run may be none of MMDetection's."""
    yield
    for kind in Visualizer, DetLocalVisualizer, FolderVisualizer:
        kind._instance_dict.clear()
