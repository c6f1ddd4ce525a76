"""Figure 4: the scores with which a GFPN's gates let feature maps through.

    python tools/gate_maps.py CONFIG CHECKPOINT IMAGE_OR_FOLDER...

draws a picture of each image to OUT_DIR/IMAGE.png. It shows for each merge the
scores of the level's own map (x1 of eq. 1) and of the map from above (x2 of
eq. 2), averaged over channels.
"""

import argparse
import sys

from common.cli import (
    add_cfg_options,
    add_device,
    add_out_dir,
    existing,
    one_sentence,
    parser_of,
)
from common.configs import load_config, load_model
from common.files import mark
from common.gates import draw, find_gates, score_maps
from common.images import image_files, readable

import mmcv


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_out_dir(parser, 'gate_maps')
    parser.add_argument('config', type=existing)
    parser.add_argument('checkpoint', type=existing)
    parser.add_argument('images', type=existing, nargs='+')
    add_device(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_sentence():
        files, unreadable = readable(image_files(args.images))
        config = load_config(args.config, args.cfg_options)
        model = load_model(config, args.checkpoint, args.device)
        limits = find_gates(model)[0].limits
        mark(args.out_dir)
        for file in files:
            image = mmcv.imread(file, channel_order='rgb')
            figure = draw(image, score_maps(model, file), limits)
            figure.savefig(args.out_dir / f'{file.stem}.png', dpi=100)
    print(f'{len(files)} pictures drawn to {args.out_dir}')
    if unreadable:
        names = ', '.join(map(str, unreadable))
        sys.exit(f'gate_maps.py: cannot be read as images: {names}')


if __name__ == '__main__':
    main()
