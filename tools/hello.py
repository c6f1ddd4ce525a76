"""Show what SPRNet finds, without training: a picture, then the explorer.

    make hello

finds the cell nuclei in a few pictures with a small trained model, which both
come with the repository (tools/hello/), and writes OUT_DIR/found.jpg. Then it
serves the explorer for this model and these pictures, until Ctrl-C.
"""

import argparse
import os
from pathlib import Path

from common import ROOT
from common.cli import parser_of
from common.steps import run

MODEL = (
    'configs/sprnet/efficientnet-lite0/'
    'sprnet_efficientnet-lite0_gfpn_plus-box_nuclei.py',
    'tools/hello/nuclei.pth',
)
DATA = 'tools/hello/nuclei'


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('work_dirs/hello'),
        help='folder for the results (work_dirs/hello)',
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
    picture = out / 'found.jpg'
    where = ['--out-dir', out / 'predictions', '--contact-sheet', picture]
    run('tools/predict.py', *MODEL, f'{DATA}/val', '--score-thr', 0.5, *where)
    print(f'\nThe nuclei that were found: {os.path.relpath(picture)}')
    print(f'In your pictures: tools/predict.py {" ".join(MODEL)} FOLDER')
    port = ['--port', args.port] if args.port else []
    options = ['--cfg-options', f'data_root={DATA}']
    run('tools/explorer.py', *MODEL, *port, *options)


if __name__ == '__main__':
    main()
