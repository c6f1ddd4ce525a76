"""SPRNet from nothing: make the shapes data set, check, train, test, draw.

First the paper's network, then, on its detector, masks that are read where
the boxes are.

Run by `make demo`. What is already there is not made again, and a training
that was stopped goes on from its last epoch.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from common import ROOT
from common.cli import parser_of
from common.demo_model import BOX_CONFIG, CONFIG

COCO_CONFIG = 'configs/sprnet/sprnet_r50_gfpn_1x_coco.py'


def run(*command: object) -> None:
    """Run one of this repository's tools, and say how."""
    words = [os.path.relpath(sys.executable), *map(str, command)]
    print('\n$', *words, flush=True)
    done = subprocess.run([sys.executable, *words[1:]])
    if done.returncode:
        sys.exit(f'demo.py: stopped, as {command[0]} failed')


def trained(config: str, folder: Path, *options: object) -> Path:
    """The last checkpoint of a training, which goes on where it stopped."""
    last = folder / 'last_checkpoint'
    resume = ['--resume'] if last.exists() else []
    run('tools/train.py', config, '--work-dir', folder, *resume, *options)
    return Path(last.read_text())


def tested(
    config: str, checkpoint: Path, out: Path, *options: object
) -> dict[str, float]:
    """The figures of a model, by tools/test.py."""
    run('tools/test.py', config, checkpoint, '--work-dir', out, *options)
    latest = max(out.glob('*/*.json'), key=lambda p: p.stat().st_mtime)
    return json.loads(latest.read_text())


def row(title: str, measured: dict[str, float]) -> str:
    """A line of boxes' and masks' AP, AP50 and AP75."""
    cells = [f'  {title:27}']
    for kind in ('bbox', 'segm'):
        names = [f'coco/{kind}_mAP{part}' for part in ('', '_50', '_75')]
        if names[0] not in measured:
            sys.exit('  nothing was detected; was it trained long enough?')
        cells += [f'{measured[name]:7.3f}' for name in names] + ['  ']
    return ''.join(cells).rstrip()


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument(
        '--data',
        type=Path,
        default=Path('data/shapes'),
        help='folder of the shapes (data/shapes)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs/demo'),
        help='folder of checkpoints, logs and pictures (work_dirs/demo)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        help='options of the config, as for train.py',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    data, work_dir = args.data.absolute(), args.work_dir.absolute()
    os.chdir(ROOT)
    options = ['--cfg-options', f'data_root={data}', *args.cfg_options]
    if not data.exists():
        run('tools/make_shapes.py', data)
    run('tools/check_dataset.py', CONFIG, *options)
    checkpoint = trained(CONFIG, work_dir, *options)
    box_checkpoint = trained(
        BOX_CONFIG, work_dir / 'box', *options, f'load_from={checkpoint}'
    )
    models = (CONFIG, checkpoint), (BOX_CONFIG, box_checkpoint)
    paper, box = (
        tested(*model, work_dir / 'test' / name, *options)
        for model, name in zip(models, ('paper', 'box'))
    )
    pictures = work_dir / 'pictures'
    run(
        'tools/compare.py',
        *models[0],
        *models[1],
        '--out-dir',
        pictures,
        *options,
    )

    print('\nOn the held-out shapes:')
    print(
        f'  {"":27}{"box AP   AP50   AP75":>21}{"mask AP   AP50   AP75":>24}'
    )
    print(row("the paper's SPRNet", paper))
    print(row('masks read where boxes are', box))
    logs = [p for p in work_dir.glob('*/*.log') if p.parent.name[0].isdigit()]
    log = max(logs, key=lambda p: p.stat().st_mtime)
    checkpoint = os.path.relpath(checkpoint)
    box_checkpoint = os.path.relpath(box_checkpoint)
    python = os.path.relpath(sys.executable)
    print(f"""
checkpoints {checkpoint} and {box_checkpoint}
log         {os.path.relpath(log)}
pictures    {os.path.relpath(pictures)}/ (the paper's, read at the box, truth)

Next:
  {python} tools/train.py {COCO_CONFIG} --cfg-options data_root=COCO_FOLDER
  {python} tools/test.py {BOX_CONFIG} {box_checkpoint}
  {python} tools/predict.py {BOX_CONFIG} {box_checkpoint} IMAGE
  {python} tools/explorer.py
  {python} tools/export.py""")


if __name__ == '__main__':
    main()
