"""Run train.py, and kill it while it writes the WHICH-th checkpoint file.

python dying_train.py WHICH [arguments of train.py]
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tools'), str(ROOT / 'tests')]

from common.mmdet_scripts import run_script  # noqa: E402

from support.dying import die_at  # noqa: E402

if __name__ == '__main__':
    die_at(int(sys.argv.pop(1)), ['fsync'])
    run_script('train.py')
