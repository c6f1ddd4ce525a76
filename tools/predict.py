"""Detect and segment the objects of images and videos with DetInferencer.

    python tools/predict.py CONFIG CHECKPOINT photo.jpg folder clip.mp4
    python tools/predict.py CONFIG CHECKPOINT 'folder/**/*.jpg'

INPUT is an image, a folder of images, which may be in folders, a video, or a
quoted glob, in which ** stands for any folders. The config's test pipeline
loads the images. If it reads files that are no usual pictures, name them by a
glob with their ending, 'folder/**/*.npy'. The results in OUT_DIR are

    vis/       each picture and video (MPEG-4, without sound) with its objects
               of at least --score-thr
    preds/     a JSON for each picture and each frame of a video: all boxes,
               scores, labels and masks (COCO RLE), as DetInferencer writes
               them; --polygons adds their outlines
    labels/    with --label-images: a 16-bit PNG of each picture and frame,
               which numbers the objects of at least --score-thr; an object
               that others of a better score cover has no number
    coco.json  all of them as one COCO data set with scores; with --ann-file in
               COCO's result format, with the ids of that file

Files keep their path relative to the inputs' common folder. Results of earlier
runs below an input are left out. At the end, the command lists the files that
it could not read.
"""

import argparse
import sys
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

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
from common.configs import (
    ensure_test_set,
    kept_checkpoints,
    load_config,
    refuse_mismatch,
)
from common.files import mark
from common.pictures import contact_sheet

import mmcv
import mmengine
import numpy as np
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from prediction.coco_results import CocoResults
from prediction.inferencer import FileInferencer
from prediction.inputs import (
    Files,
    Item,
    input_files,
    loaded_frames,
    loaded_images,
)
from prediction.label_images import label_image
from prediction.pictures import mp4_name, picture_file, write_video
from prediction.polygons import polygons_of
from prediction.run_lengths import dense

from projects.sprnet import RLEMasks, SPRHead
from projects.sprnet.errors import InputError
from projects.sprnet.runtime.image_guard import pages_of
from projects.sprnet.runtime.loading import picture_path

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
        help='draw and number objects of at least this score (0.3)',
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
        type=picture_file,
        metavar='FILE',
        help='also draw all pictures as a grid into this file',
    )
    parser.add_argument(
        '--polygons',
        action='store_true',
        help='also write masks as polygons, the coordinates of a GeoJSON '
        'MultiPolygon: parts, of each its outline and its holes',
    )
    parser.add_argument(
        '--label-images',
        action='store_true',
        help='also write label images: each object has its own number, 0 is '
        'background',
    )
    add_device(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def build_inferencer(args: argparse.Namespace) -> FileInferencer:
    """Load the model."""
    config = load_config(args.config, args.cfg_options)
    ensure_test_set(config)
    file = str(args.checkpoint)
    with kept_checkpoints() as read:
        inferencer = FileInferencer(config, file, device=args.device)
    refuse_mismatch(inferencer.model, config, args.checkpoint, read[file])
    mask_head = getattr(inferencer.model, 'mask_head', None)
    if isinstance(mask_head, SPRHead):
        # Dense masks are made only of objects that are drawn.
        mask_head.mask_output = RLEMasks()
    return inferencer


def detect(
    inferencer: FileInferencer, items: Iterable[Item], batch_size: int
) -> Iterator[tuple[Item, DetDataSample]]:
    """Detect the objects of each item, batch by batch."""
    items = iter(items)
    while batch := list(islice(items, batch_size)):
        data = inferencer.collate_fn([item.data for item in batch])
        yield from zip(batch, inferencer.forward(data))


class Predictor:
    """Predict on images and videos, and write the results to OUT_DIR."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.inferencer = build_inferencer(args)
        self.visualizer = self.inferencer.visualizer
        if not mark(args.out_dir):  # it has files of the user
            for name in ('vis', 'preds', *['labels'] * args.label_images):
                mark(args.out_dir / name)
        classes = self.inferencer.model.dataset_meta['classes']
        self.results = CocoResults(
            args.out_dir / 'coco.json', classes, args.ann_file
        )
        self.pictures: list[Path] = []  # drawn
        self.shown = 0  # objects of at least --score-thr
        self.numbered = 0  # of these, objects in label images
        self.unreadable: dict[Path, str] = {}  # with the reason

    def predict(
        self, items: Iterable[Item]
    ) -> Iterator[tuple[Path, np.ndarray]]:
        """Write each item's JSON; yield its file, and its picture with the
        objects, (H, W, 3) uint8 BGR."""
        args = self.args
        for item, sample in detect(self.inferencer, items, args.batch_size):
            prediction = self.inferencer.pred2dict(sample)
            if args.polygons and 'masks' in prediction:
                masks = prediction['masks']
                prediction['polygons'] = [polygons_of(m) for m in masks]
            mmengine.dump(prediction, args.out_dir / 'preds' / item.json_path)
            height, width = item.picture.shape[:2]
            instances = sample.pred_instances.cpu()
            shown = instances.scores >= args.score_thr
            sample.pred_instances = instances = instances[shown]
            if 'masks' in prediction and 'masks' not in instances:
                indices = shown.nonzero()[:, 0].tolist()
                masks = [prediction['masks'][i] for i in indices]
                instances.masks = dense(masks, (height, width))
            self.shown += len(instances)
            if args.label_images:
                self.write_labels(item, instances)
            self.results.add(
                dict(item.coco_image, height=height, width=width), prediction
            )
            self.visualizer.add_datasample(
                item.file.name,
                item.picture[..., ::-1],
                sample,
                draw_gt=False,
                pred_score_thr=-1,  # all that are left
            )
            yield item.file, self.visualizer.get_image()[..., ::-1]

    def write_labels(self, item: Item, instances: InstanceData) -> None:
        """Write an item's label image of the objects that are drawn.

        Raises:
            InputError: The model has no masks.
        """
        if 'masks' not in instances:
            raise InputError(
                '--label-images needs masks, which the model of '
                f'{self.args.config} does not have'
            )
        numbers = label_image(
            np.asarray(instances.masks), instances.scores.tolist()
        )
        path = self.args.out_dir / 'labels' / item.json_path
        mmcv.imwrite(numbers, str(path.with_suffix('.png')))
        self.numbered += np.count_nonzero(np.unique(numbers))

    def predict_images(self, files: Files, ids: dict[Path, int]) -> None:
        """Write the results of images with these image ids."""
        items = loaded_images(self.inferencer, files, ids, self.unreadable)
        for file, picture in self.predict(items):
            path = self.args.out_dir / 'vis' / picture_path(files[file])
            mmcv.imwrite(picture, str(path))
            self.pictures.append(path)

    def predict_videos(self, files: Files, first_id: int) -> None:
        """Write the results of videos; count image ids from ``first_id``."""
        for file, name in files.items():
            video = mmcv.VideoReader(str(file))
            items = loaded_frames(self.inferencer, video, file, name, first_id)
            count = write_video(
                (picture for _, picture in self.predict(items)),
                self.args.out_dir / 'vis' / mp4_name(name),
                video.fps or FPS,
            )
            first_id += count
            if not count:
                self.unreadable[file] = 'it has no frames'
            # One may be missing where the header knows the duration only.
            elif count + 1 < video.frame_cnt:
                self.unreadable[file] = (
                    f'it can be read up to frame {count - 1}, but announces '
                    f'{video.frame_cnt} frames; those before it are predicted'
                )


def main() -> None:
    args = parse_args()
    # The visualizer warns of each box at the edge of an image.
    warnings.filterwarnings('ignore', module='mmengine.visualization')
    with one_sentence():
        images, videos = input_files(args.inputs)
        if videos and args.ann_file:
            raise InputError(
                f'--ann-file {args.ann_file} is for images, but '
                f'{next(iter(videos))} is a video; leave one of them out'
            )
        earlier = args.out_dir / 'vis'
        if earlier.is_dir() and any(earlier.iterdir()):
            print(
                f'{args.out_dir} has results of an earlier run; its pictures '
                'stay beside the new ones, unless --out-dir names another '
                'folder'
            )
        predictor = Predictor(args)
        if videos and not predictor.inferencer.takes_arrays:
            raise InputError(
                f'{next(iter(videos))} is a video, but the test pipeline of '
                f'{args.config} has no LoadImageFromFile, which takes frames'
            )
        ids = predictor.results.ids_of(list(images))
        with predictor.results:
            predictor.predict_images(images, ids)
            predictor.predict_videos(videos, len(images) + 1)
        if predictor.pictures and args.contact_sheet:
            pictures = map(mmcv.imread, predictor.pictures)
            count = len(predictor.pictures)
            contact_sheet(pictures, count, args.contact_sheet)
    print(
        f'{predictor.shown} objects with a score of at least '
        f'{args.score_thr:g} (--score-thr) drawn to {args.out_dir / "vis"}, '
        f'all {predictor.results.count} of any score written to '
        f'{args.out_dir / "preds"} and {predictor.results.path}'
    )
    if args.label_images:
        covered = predictor.shown - predictor.numbered
        more = f'; objects of a better score cover the other {covered}'
        print(
            f'{predictor.numbered} of them have a number in '
            f'{args.out_dir / "labels"}{more if covered else ""}'
        )
    paged = [str(file) for file in images if pages_of(file) > 1]
    if paged:
        print(f'of several pages, the first is predicted: {", ".join(paged)}')
    if predictor.unreadable:
        named = [
            f'{file} ({why})' for file, why in predictor.unreadable.items()
        ]
        sys.exit(f'predict.py: cannot be read: {"; ".join(named)}')


if __name__ == '__main__':
    main()
