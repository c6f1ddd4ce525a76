"""Make the shapes data set, then check it, train, test and draw.

The paper's network is trained first. Then masks that are read at the box are
trained on its frozen detector.

`make demo` runs this command. It skips data that already exists and resumes a
stopped training from its last epoch.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from common import ROOT
from common.cli import parser_of
from common.demo_model import BOX_CONFIG, CONFIG
from common.steps import run

COCO_CONFIG = 'configs/sprnet/sprnet_r50_gfpn_1x_coco.py'


def train(config: str, folder: Path, *values: str) -> Path:
    """Train, or resume a training; return its last checkpoint."""
    last = folder / 'last_checkpoint'
    resume = ['--resume'] if last.exists() else []
    run(
        *('tools/train.py', config, '--work-dir', folder),
        *(*resume, '--cfg-options', *values),
    )
    return Path(last.read_text())


def figures(folder: Path) -> dict[str, float]:
    """The figures of the last validation in a work directory."""
    found: dict[str, float] = {}
    for file in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            if 'coco/segm_mAP' in record:
                found = record
    if not found:
        sys.exit('demo.py: nothing was detected; train for more epochs')
    return found


def ap_row(title: str, figures: dict[str, float]) -> str:
    """Format the AP, AP50 and AP75 of boxes and of masks as a line."""
    cells = [f'  {title:27}']
    for kind in ('bbox', 'segm'):
        names = [f'coco/{kind}_mAP{part}' for part in ('', '_50', '_75')]
        cells += [f'{figures[name]:7.3f}' for name in names] + ['  ']
    return ''.join(cells).rstrip()


def print_files(work_dir: Path, checkpoints: list[Path]) -> None:
    """Print what was written, and commands to go on with."""
    logs = [p for p in work_dir.glob('*/*.log') if p.parent.name[0].isdigit()]
    log = max(logs, key=lambda p: p.stat().st_mtime)
    paper, box = map(os.path.relpath, checkpoints)
    python = os.path.relpath(sys.executable)
    print(f"""
checkpoints {paper} and {box}
log         {os.path.relpath(log)}
pictures    {os.path.relpath(work_dir / 'pictures')}/
            (the paper's masks, masks read at the box, ground truth)

Next:
  {python} tools/train.py {COCO_CONFIG} --cfg-options data_root=COCO_FOLDER
  {python} tools/test.py {BOX_CONFIG} {box}
  {python} tools/predict.py {BOX_CONFIG} {box} IMAGE
  {python} tools/explorer.py
  {python} tools/export.py""")


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument(
        '--data',
        type=Path,
        default=Path('data/shapes'),
        help='folder of the shapes, made if it is missing (data/shapes)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/demo'),
        help='folder for checkpoints, logs and pictures (work_dirs/demo)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        help='options for both configs, as for train.py',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    data, work_dir = args.data.absolute(), args.work_dir.absolute()
    os.chdir(ROOT)
    # So small a network is faster on one thread than on two, or on two ranks.
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    values = [f'data_root={data}', *args.cfg_options]
    options = ['--cfg-options', *values]
    if not data.exists():
        run('tools/make_shapes.py', data)
    run('tools/check_dataset.py', CONFIG, *options)
    paper = train(CONFIG, work_dir, *values)
    box = train(BOX_CONFIG, work_dir / 'box', *values, f'load_from={paper}')
    models = [CONFIG, paper, BOX_CONFIG, box]
    pictures = ['--out-dir', work_dir / 'pictures']
    run('tools/compare.py', *models, *pictures, *options)

    print('\nOn the validation set of the shapes:')
    print(
        f'  {"":27}{"box AP   AP50   AP75":>21}{"mask AP   AP50   AP75":>24}'
    )
    print(ap_row("the paper's SPRNet", figures(work_dir)))
    print(ap_row('masks read at the box', figures(work_dir / 'box')))
    print_files(work_dir, [paper, box])


if __name__ == '__main__':
    main()
