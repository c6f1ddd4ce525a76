"""Detect and segment the objects of images and videos, with MMDetection's
DetInferencer.

    python tools/predict.py CONFIG CHECKPOINT photo.jpg folder clip.mp4
    python tools/predict.py CONFIG CHECKPOINT 'folder/**/*.jpg'

INPUT is an image, a folder of images, a video, or a quoted glob, of which **
leads into folders. In OUT_DIR are then

    vis/       every picture and video (MPEG-4, without its sound) with its
               objects of at least --score-thr
    preds/     a JSON for each picture, and for each frame of a video: all
               boxes, scores, labels and masks (COCO's RLE) as DetInferencer
               writes them
    coco.json  all of them again as one COCO data set, with scores; with
               --ann-file COCO's result format, under the ids of that file

where a file is called what it is called below the folder that holds all of the
inputs. What cannot be read is named at the end.
"""

import argparse
import sys
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import mmcv
import mmengine
import numpy as np
from common.cli import (
    add_cfg_options,
    add_device,
    add_out_dir,
    at_least_one,
    existing,
    one_sentence,
    parser_of,
    score,
)
from common.configs import load_config
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from prediction.coco_results import CocoResults
from prediction.inputs import (
    VIDEOS,
    Item,
    input_files,
    loaded_frames,
    loaded_images,
)
from prediction.pictures import (
    contact_sheet,
    mp4_name,
    write_picture,
    write_video,
)

from projects.sprnet import RLEMasks

FPS = 25  # of a video that does not say


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_out_dir(parser, 'predictions')
    parser.add_argument('config', type=existing)
    parser.add_argument('checkpoint', type=existing)
    parser.add_argument('inputs', nargs='+', metavar='INPUT')
    parser.add_argument(
        '--score-thr',
        type=score,
        default=0.3,
        help='draw objects of at least this score (0.3)',
    )
    parser.add_argument(
        '--batch-size',
        type=at_least_one,
        default=1,
        help='images or frames at once (1)',
    )
    parser.add_argument(
        '--ann-file',
        type=existing,
        metavar='FILE',
        help='COCO JSON of the images: coco.json takes its ids, and is what '
        "pycocotools' loadRes reads",
    )
    parser.add_argument(
        '--contact-sheet',
        type=Path,
        metavar='FILE',
        help='also draw all the pictures as a grid into this file',
    )
    add_device(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def detect(
    inferencer: DetInferencer, items: Iterable[Item], batch_size: int
) -> Iterator[tuple[Item, DetDataSample]]:
    """What the model detects, batch by batch."""
    items = iter(items)
    while batch := list(islice(items, batch_size)):
        data = inferencer.collate_fn([item.data for item in batch])
        yield from zip(batch, inferencer.forward(data))


def save(
    inferencer: DetInferencer,
    item: Item,
    sample: DetDataSample,
    results: CocoResults,
    args: argparse.Namespace,
) -> np.ndarray:
    """Write what was detected; return the picture with it, (H, W, 3) uint8
    BGR."""
    prediction = inferencer.pred2dict(sample)
    mmengine.dump(prediction, args.out_dir / 'preds' / item.json)
    height, width = item.picture.shape[:2]
    results.add(dict(item.image, height=height, width=width), prediction)
    inferencer.visualizer.add_datasample(
        item.file.name,
        item.picture[..., ::-1],
        sample,
        draw_gt=False,
        pred_score_thr=args.score_thr,
    )
    return inferencer.visualizer.get_image()[..., ::-1]


def main() -> None:
    args = parse_args()

    # Boxes at an image's edge, each time one is drawn
    warnings.filterwarnings('ignore', module='mmengine.visualization')
    bad: list[Path] = []
    pictures: list[Path] = []
    with one_sentence():
        files = input_files(args.inputs)
        videos = [f for f in files if f.suffix.lower() in VIDEOS]
        images = {f: files[f] for f in files if f not in videos}
        if videos and args.ann_file:
            raise ValueError(f'--ann-file is of images, {videos[0]} is none')
        inferencer = DetInferencer(
            load_config(args.config, args.cfg_options),
            str(args.checkpoint),
            device=args.device,
        )
        mask_head = getattr(inferencer.model, 'mask_head', None)
        if isinstance(getattr(mask_head, 'mask_output', None), RLEMasks):
            raise ValueError('masks that are RLEMasks cannot be drawn')
        classes = inferencer.model.dataset_meta['classes']
        args.out_dir.mkdir(parents=True, exist_ok=True)
        results = CocoResults(
            args.out_dir / 'coco.json', classes, args.ann_file
        )
        ids, first = results.ids_of(list(images)), len(images) + 1
        with results:
            for item, sample in detect(
                inferencer,
                loaded_images(inferencer, images, ids, bad),
                args.batch_size,
            ):
                picture = save(inferencer, item, sample, results, args)
                path = args.out_dir / 'vis' / files[item.file]
                pictures.append(write_picture(picture, path))
            for file in videos:
                video, name = mmcv.VideoReader(str(file)), files[file]
                items = loaded_frames(inferencer, video, file, name, first)
                count = write_video(
                    (
                        save(inferencer, item, sample, results, args)
                        for item, sample in detect(
                            inferencer, items, args.batch_size
                        )
                    ),
                    args.out_dir / 'vis' / mp4_name(name),
                    video.fps or FPS,
                )
                first += count
                if not count:
                    bad.append(file)
        if pictures and args.contact_sheet:
            contact_sheet(pictures, args.contact_sheet)
    print(
        f'drawn to {args.out_dir / "vis"}, written to '
        f'{args.out_dir / "preds"} and {results.path}'
    )
    if bad:
        sys.exit(f'predict.py: cannot be read: {", ".join(map(str, bad))}')


if __name__ == '__main__':
    main()
