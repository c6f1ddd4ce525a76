"""SPRNet from nothing: make the shapes data set, check, train, test, draw.

Run by `make demo`. What is already there is not made again, and a training
that was stopped goes on from its last epoch.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Dict

ROOT = Path(__file__).resolve().parent.parent
CONFIG = 'configs/sprnet/sprnet_r18_gfpn_demo_shapes.py'
COCO_CONFIG = 'configs/sprnet/sprnet_r50_gfpn_1x_coco.py'


def run(*command: object) -> None:
    """Run one of this repository's tools, and say how."""
    words = [os.path.relpath(sys.executable), *map(str, command)]
    print('\n$', *words, flush=True)
    done = subprocess.run([sys.executable, *words[1:]])
    if done.returncode:
        sys.exit(f'demo.py: stopped, as {command[0]} failed')


def figures(work_dir: Path) -> Dict[str, float]:
    """What the latest test in a work directory measured."""
    latest = max(work_dir.glob('*/*.json'), key=lambda p: p.stat().st_mtime)
    return json.loads(latest.read_text())


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
    run('tools/train.py', CONFIG, '--work-dir', work_dir, '--resume', *options)
    checkpoint = Path((work_dir / 'last_checkpoint').read_text())
    pictures = work_dir / 'pictures'
    run(
        'tools/test.py',
        CONFIG,
        checkpoint,
        '--work-dir',
        work_dir / 'test',
        '--show-dir',
        pictures,
        *options,
    )

    measured = figures(work_dir / 'test')
    print('\nOn the held-out shapes:')
    for name, kind in (('box', 'bbox'), ('mask', 'segm')):
        if f'coco/{kind}_mAP' not in measured:
            sys.exit('  nothing was detected; was it trained long enough?')
        print(
            f'  {name:4} AP {measured[f"coco/{kind}_mAP"]:.3f}'
            f'   AP50 {measured[f"coco/{kind}_mAP_50"]:.3f}'
            f'   AP75 {measured[f"coco/{kind}_mAP_75"]:.3f}'
        )
    log = max(work_dir.glob('*/*.log'), key=lambda p: p.stat().st_mtime)
    python = os.path.relpath(sys.executable)
    print(f"""
checkpoint  {os.path.relpath(checkpoint)}
log         {os.path.relpath(log)}
pictures    {os.path.relpath(pictures)}/ (left: ground truth, right: ours)

Next:
  {python} tools/train.py {COCO_CONFIG} --cfg-options data_root=COCO_FOLDER
  {python} tools/test.py {CONFIG} {os.path.relpath(checkpoint)}
  {python} tools/predict.py {CONFIG} {os.path.relpath(checkpoint)} IMAGE
  {python} tools/explorer.py
  {python} tools/export.py""")


if __name__ == '__main__':
    main()
