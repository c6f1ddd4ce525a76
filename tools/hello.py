"""Show what SPRNet finds, without training: a picture, then the explorer.

    make hello

draws a few shapes, finds them with a small trained model that comes with the
repository (tools/hello/), and writes OUT_DIR/found.jpg. Then it serves the
explorer for this model and these shapes, until Ctrl-C.
"""

import argparse
import os
from pathlib import Path

from common import ROOT
from common.cli import parser_of
from common.demo_model import BOX_CONFIG
from common.steps import run

CHECKPOINT = 'tools/hello/shapes.pth'
# Other shapes than the demo's, which trained the model
SHAPES = ['--train', 1, '--val', 12, '--seed', 1]


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('work_dirs/hello'),
        help='folder for the shapes and the picture (work_dirs/hello)',
    )
    parser.add_argument(
        '--port', type=int, help='of the explorer (the first free from 7860)'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out_dir.absolute()
    os.chdir(ROOT)
    shapes, picture = out / 'shapes', out / 'found.jpg'
    if not shapes.exists():
        run('tools/make_shapes.py', shapes, *SHAPES)
    model = [BOX_CONFIG, CHECKPOINT]
    folders = [shapes / 'val2017', '--out-dir', out / 'predictions']
    run('tools/predict.py', *model, *folders, '--contact-sheet', picture)
    print(f'\nThe shapes that were found: {os.path.relpath(picture)}')
    port = ['--port', args.port] if args.port else []
    data = ['--cfg-options', f'data_root={shapes}']
    run('tools/explorer.py', *model, *port, *data)


if __name__ == '__main__':
    main()
