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
    """Write pictures as one grid, about square, of cells (cell, cell).

    Each is made to fit its cell, with a margin.
    """
    import mmcv
    import numpy as np

    columns = int(np.ceil(len(files) ** 0.5))
    cells = [
        mmcv.impad(
            mmcv.imrescale(mmcv.imread(file), (cell - 8, cell - 8)),
            shape=(cell, cell),
            pad_val=(255, 255, 255),
        )
        for file in files
    ]
    cells += [np.full_like(cells[0], 255)] * (-len(files) % columns)
    rows = [
        np.hstack(cells[i : i + columns])
        for i in range(0, len(cells), columns)
    ]
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
