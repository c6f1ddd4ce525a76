"""Detect and segment the objects of images and videos with DetInferencer.

    python tools/predict.py CONFIG CHECKPOINT photo.jpg folder clip.mp4
    python tools/predict.py CONFIG CHECKPOINT 'folder/**/*.jpg'

INPUT is an image, a folder of images, a video, or a quoted glob, in which **
stands for any folders. The results in OUT_DIR are

    vis/       each picture and video (MPEG-4, without sound) with its objects
               of at least --score-thr
    preds/     a JSON for each picture and each frame of a video: all boxes,
               scores, labels and masks (COCO RLE), as DetInferencer writes
               them
    coco.json  all of them as one COCO data set with scores; with --ann-file in
               COCO's result format, with the ids of that file

Files keep their path relative to the inputs' common folder. At the end, the
command lists the files that it could not read.
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

FPS = 25  # of videos whose file does not give it


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
        help='images or frames per batch (1)',
    )
    parser.add_argument(
        '--ann-file',
        type=existing,
        metavar='FILE',
        help='COCO JSON of the images: coco.json takes its ids, and '
        "pycocotools' loadRes reads it",
    )
    parser.add_argument(
        '--contact-sheet',
        type=Path,
        metavar='FILE',
        help='also draw all pictures as a grid into this file',
    )
    add_device(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def build_inferencer(args: argparse.Namespace) -> DetInferencer:
    """Load the model.

    Raises:
        ValueError: The model gives masks as run lengths.
    """
    inferencer = DetInferencer(
        load_config(args.config, args.cfg_options),
        str(args.checkpoint),
        device=args.device,
    )
    mask_head = getattr(inferencer.model, 'mask_head', None)
    if isinstance(getattr(mask_head, 'mask_output', None), RLEMasks):
        raise ValueError(
            'model.mask_head.mask_output.type=RLEMasks cannot be drawn; use '
            'DenseMasks'
        )
    return inferencer


def detect(
    inferencer: DetInferencer, items: Iterable[Item], batch_size: int
) -> Iterator[tuple[Item, DetDataSample]]:
    """Detect the objects of each item, batch by batch."""
    items = iter(items)
    while batch := list(islice(items, batch_size)):
        data = inferencer.collate_fn([item.data for item in batch])
        yield from zip(batch, inferencer.forward(data))


def predict(
    inferencer: DetInferencer,
    items: Iterable[Item],
    results: CocoResults,
    args: argparse.Namespace,
) -> Iterator[tuple[Path, np.ndarray]]:
    """Detect the objects of each item and write its JSON.

    Yields:
        The item's file, and its picture with the objects, (H, W, 3) uint8 BGR.
    """
    for item, sample in detect(inferencer, items, args.batch_size):
        prediction = inferencer.pred2dict(sample)
        mmengine.dump(prediction, args.out_dir / 'preds' / item.json_path)
        height, width = item.picture.shape[:2]
        results.add(
            dict(item.coco_image, height=height, width=width), prediction
        )
        inferencer.visualizer.add_datasample(
            item.file.name,
            item.picture[..., ::-1],
            sample,
            draw_gt=False,
            pred_score_thr=args.score_thr,
        )
        yield item.file, inferencer.visualizer.get_image()[..., ::-1]


def predict_images(
    inferencer: DetInferencer,
    files: dict[Path, Path],
    ids: dict[Path, int],
    results: CocoResults,
    args: argparse.Namespace,
) -> tuple[list[Path], list[Path]]:
    """Write the predictions of images.

    Args:
        files: For each image its path below the output folders.
        ids: For each image its id in ``results``.

    Returns:
        The pictures drawn, and the images that cannot be read.
    """
    unreadable: list[Path] = []
    items = loaded_images(inferencer, files, ids, unreadable)
    pictures = [
        write_picture(picture, args.out_dir / 'vis' / files[file])
        for file, picture in predict(inferencer, items, results, args)
    ]
    return pictures, unreadable


def predict_videos(
    inferencer: DetInferencer,
    files: dict[Path, Path],
    first_id: int,
    results: CocoResults,
    args: argparse.Namespace,
) -> list[Path]:
    """Write the predictions of videos; return those that cannot be read.

    Args:
        files: For each video its path below the output folders.
        first_id: Image id of the first frame in ``results``.
    """
    unreadable = []
    for file, name in files.items():
        video = mmcv.VideoReader(str(file))
        items = loaded_frames(inferencer, video, file, name, first_id)
        frames = predict(inferencer, items, results, args)
        count = write_video(
            (picture for _, picture in frames),
            args.out_dir / 'vis' / mp4_name(name),
            video.fps or FPS,
        )
        first_id += count
        if not count:
            unreadable.append(file)
    return unreadable


def main() -> None:
    args = parse_args()
    # The visualizer warns of each box at the edge of an image.
    warnings.filterwarnings('ignore', module='mmengine.visualization')
    with one_sentence():
        images, videos = input_files(args.inputs)
        if videos and args.ann_file:
            raise ValueError(
                f'--ann-file {args.ann_file} is for images, but '
                f'{next(iter(videos))} is a video; run the command once for '
                'each kind'
            )
        inferencer = build_inferencer(args)
        classes = inferencer.model.dataset_meta['classes']
        args.out_dir.mkdir(parents=True, exist_ok=True)
        results = CocoResults(
            args.out_dir / 'coco.json', classes, args.ann_file
        )
        ids = results.ids_of(list(images))
        with results:
            pictures, unreadable = predict_images(
                inferencer, images, ids, results, args
            )
            unreadable += predict_videos(
                inferencer, videos, len(images) + 1, results, args
            )
        if pictures and args.contact_sheet:
            contact_sheet(pictures, args.contact_sheet)
    print(
        f'drawn to {args.out_dir / "vis"}, written to '
        f'{args.out_dir / "preds"} and {results.path}'
    )
    if unreadable:
        names = ', '.join(map(str, unreadable))
        sys.exit(f'predict.py: cannot be read: {names}')


if __name__ == '__main__':
    main()
