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
from common.steps import run

MODEL = (
    'configs/sprnet/plus/sprnet_r18_gfpn_plus-box_9-epochs_shapes.py',
    'tools/hello/shapes.pth',
)
# Other shapes than those that trained the model
SHAPES = ('--train', 1, '--val', 12, '--seed', 1)


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('work_dirs/hello'),
        help='folder for the shapes and the picture (work_dirs/hello)',
    )
    parser.add_argument(
        '--port',
        type=int,
        help='of the explorer (default: the first free one from 7860 on)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out_dir.absolute()
    os.chdir(ROOT)
    shapes, picture = out / 'shapes', out / 'found.jpg'
    if not shapes.exists():
        run('tools/make_shapes.py', shapes, *SHAPES)
    where = ['--out-dir', out / 'predictions', '--contact-sheet', picture]
    run('tools/predict.py', *MODEL, shapes / 'val2017', *where)
    print(f'\nThe shapes that were found: {os.path.relpath(picture)}')
    port = ['--port', args.port] if args.port else []
    options = ['--cfg-options', f'data_root={shapes}']
    run('tools/explorer.py', *MODEL, *port, *options)


if __name__ == '__main__':
    main()
