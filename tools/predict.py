"""Detect and segment the objects of images, with MMDetection's DetInferencer.

    python tools/predict.py CONFIG CHECKPOINT IMAGE_OR_FOLDER...

draws each image's objects into OUT_DIR/vis/ and writes their boxes, scores,
labels and masks (COCO's RLE) to OUT_DIR/preds/.
"""

import argparse
import pickle
import sys
from pathlib import Path

from mmdet_tool import ROOT, refused

sys.path.insert(0, str(ROOT))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', type=Path)
    parser.add_argument('checkpoint', type=Path)
    parser.add_argument('images', type=Path, nargs='+')
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path('predictions'),
        help='where the results go (predictions)',
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='draw objects of at least this score (0.3)',
    )
    parser.add_argument(
        '--device', help='such as cpu or cuda:0 (the GPU if there is one)'
    )
    args = parser.parse_args()
    for path in (args.config, args.checkpoint, *args.images):
        if not path.exists():
            parser.error(f'{path} does not exist')
    return args


def main() -> None:
    args = parse_args()
    from mmdet.apis import DetInferencer

    try:
        inferencer = DetInferencer(
            str(args.config), str(args.checkpoint), device=args.device
        )
    except pickle.UnpicklingError as error:
        sys.exit(refused('predict.py', error))
    for image in args.images:
        inferencer(
            str(image),
            out_dir=str(args.out_dir),
            pred_score_thr=args.score_thr,
            no_save_pred=False,
        )
    print(
        f'drawn to {args.out_dir / "vis"}, written to {args.out_dir / "preds"}'
    )


if __name__ == '__main__':
    main()
