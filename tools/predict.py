"""Detect and segment the objects of images, with MMDetection's DetInferencer.

    python tools/predict.py CONFIG CHECKPOINT IMAGE_OR_FOLDER...

draws each image's objects into OUT_DIR/vis/ and writes their boxes, scores,
labels and masks (COCO's RLE) to OUT_DIR/preds/. With --contact-sheet all of
the pictures are in one besides, a grid such as Figure 7.
"""

import argparse
import sys
from pathlib import Path
from typing import Sequence

from figures import (
    add_device,
    existing,
    image_files,
    one_sentence,
    parser_of,
    readable,
    score,
)


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__, 'predictions')
    parser.add_argument('config', type=existing)
    parser.add_argument('checkpoint', type=existing)
    parser.add_argument('images', type=existing, nargs='+')
    parser.add_argument(
        '--score-thr',
        type=score,
        default=0.3,
        help='draw objects of at least this score (0.3)',
    )
    parser.add_argument(
        '--contact-sheet',
        type=Path,
        metavar='FILE',
        help='also draw all the pictures as a grid into this file',
    )
    add_device(parser)
    return parser.parse_args()


def contact_sheet(files: Sequence[Path], out: Path, cell: int = 480) -> None:
    """Write pictures as one grid, about square, each at most ``cell`` wide and
    high with its margin."""
    import mmcv
    import numpy as np

    side = cell - 8
    pictures = [mmcv.imrescale(mmcv.imread(f), (side, side)) for f in files]
    columns = int(np.ceil(len(files) ** 0.5))
    rows = []
    for first in range(0, len(pictures), columns):
        row = pictures[first : first + columns]
        shape = (max(len(picture) for picture in row) + 8, cell)
        cells = [mmcv.impad(p, shape=shape, pad_val=(255,) * 3) for p in row]
        row = np.hstack(cells)
        rows.append(
            mmcv.impad(
                row, shape=(len(row), columns * cell), pad_val=(255,) * 3
            )
        )
    mmcv.imwrite(np.vstack(rows), str(out))


def main() -> None:
    args = parse_args()
    from mmdet.apis import DetInferencer

    import projects.sprnet  # noqa: F401  lets torch read any of our checkpoints

    with one_sentence():
        files, unreadable = readable(image_files(args.images))
        inferencer = DetInferencer(
            str(args.config), str(args.checkpoint), device=args.device
        )
        if files:
            inferencer(
                [str(file) for file in files],
                out_dir=str(args.out_dir),
                pred_score_thr=args.score_thr,
                no_save_pred=False,
            )
        if files and args.contact_sheet:
            pictures = [args.out_dir / 'vis' / file.name for file in files]
            contact_sheet(pictures, args.contact_sheet)
    print(
        f'drawn to {args.out_dir / "vis"}, written to {args.out_dir / "preds"}'
    )
    if unreadable:
        sys.exit(f'predict.py: no images: {", ".join(map(str, unreadable))}')


if __name__ == '__main__':
    main()
