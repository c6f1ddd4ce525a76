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
import os
import sys
import warnings
from collections import Counter
from glob import glob
from itertools import islice
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Dict,
    Iterable,
    Iterator,
    List,
    NamedTuple,
    Sequence,
    Tuple,
)

import numpy as np
from figures import (
    add_cfg_options,
    add_device,
    add_out_dir,
    at_least_one,
    existing,
    folder_images,
    load_config,
    one_sentence,
    parser_of,
    score,
)

if TYPE_CHECKING:
    from coco_results import CocoResults
    from mmcv import VideoReader
    from mmdet.apis import DetInferencer
    from mmdet.structures import DetDataSample

COLOURED = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')
FPS = 25  # of a video that does not say
SHEET = 12_000  # pixels a side, of a contact sheet at most


class Item(NamedTuple):
    """An image, or a frame of a video, that is loaded."""

    file: Path
    image: dict  # COCO's entry of it
    json: Path  # below preds/
    picture: np.ndarray  # (H, W, 3) uint8 BGR
    data: dict  # what the model is given


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


def input_files(inputs: Sequence[str]) -> Dict[Path, Path]:
    """The files that images, videos, folders and globs mean, each once.

    Returns:
        For each file its path below the folder that holds all of them.

    Raises:
        ValueError: An input that leads to no file.
    """
    from mmdet.apis.det_inferencer import IMG_EXTENSIONS

    files = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            found = folder_images(path)
        elif path.exists():
            found = [path]
        else:
            matches = map(Path, sorted(glob(text, recursive=True)))
            known = (*IMG_EXTENSIONS, *VIDEOS)
            found = [p for p in matches if p.suffix.lower() in known]
        if not found:
            raise ValueError(f'{text} does not exist, or has no images')
        files.update({os.path.abspath(file): file for file in found})
    folder = os.path.commonpath([os.path.dirname(path) for path in files])
    return {
        file: Path(os.path.relpath(path, folder))
        for path, file in files.items()
    }


def json_names(files: Dict[Path, Path]) -> Dict[Path, Path]:
    """The JSON of each file, which keeps a suffix that tells two apart."""
    count = Counter(name.with_suffix('') for name in files.values())
    return {
        file: Path(f'{name.with_suffix("")}.json')
        if count[name.with_suffix('')] == 1
        else Path(f'{name}.json')
        for file, name in files.items()
    }


def loaded_images(
    inferencer: 'DetInferencer',
    files: Dict[Path, Path],
    ids: Dict[Path, int],
    bad: List[Path],
) -> Iterator[Item]:
    """Images under their names, one by one; ``bad`` is given the rest."""
    import mmcv
    from rich.progress import track

    jsons = json_names(files)
    for file, name in track(files.items(), description='Images'):
        try:
            picture = mmcv.imread(file)
            data = inferencer.pipeline(str(file))
        except Exception:  # whatever a broken file leads to
            bad.append(file)
            continue
        image = dict(id=ids[file], file_name=name.as_posix())
        yield Item(file, image, jsons[file], picture, data)


def loaded_frames(
    inferencer: 'DetInferencer',
    video: 'VideoReader',
    file: Path,
    name: Path,
    first: int,
) -> Iterator[Item]:
    """Frames of a video, one by one, with the image ids from ``first`` on."""
    from rich.progress import track

    total = max(video.frame_cnt, 0)  # some files do not say
    for n, frame in enumerate(track(video, name.name, total)):
        image = dict(id=first + n, file_name=name.as_posix(), frame_id=n)
        data = inferencer.pipeline(frame)
        yield Item(file, image, name / f'{n:06d}.json', frame, data)


def detect(
    inferencer: 'DetInferencer', items: Iterable[Item], batch_size: int
) -> Iterator[Tuple[Item, 'DetDataSample']]:
    """What the model detects, batch by batch."""
    items = iter(items)
    while batch := list(islice(items, batch_size)):
        data = inferencer.collate_fn([item.data for item in batch])
        yield from zip(batch, inferencer.forward(data))


def save(
    inferencer: 'DetInferencer',
    item: Item,
    sample: 'DetDataSample',
    results: 'CocoResults',
    args: argparse.Namespace,
) -> np.ndarray:
    """Write what was detected; return the picture with it, (H, W, 3) uint8
    BGR."""
    import mmengine

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


def write_picture(picture: np.ndarray, path: Path) -> Path:
    """Write a picture, as JPEG where colours have no file of its suffix."""
    import mmcv

    if path.suffix.lower() not in COLOURED:
        path = Path(f'{path}.jpg')
    mmcv.imwrite(picture, str(path))
    return path


def mp4_name(name: Path) -> Path:
    """What the video made of a video is called."""
    return name if name.suffix == '.mp4' else Path(f'{name}.mp4')


def write_video(pictures: Iterator[np.ndarray], path: Path, fps: float) -> int:
    """Write a video and return how many frames it has.

    Raises:
        OSError: It cannot be written.
    """
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    writer, count = cv2.VideoWriter(), 0
    try:
        for picture in pictures:
            if not count:  # only a frame knows how it is turned
                height, width = picture.shape[:2]
                code = cv2.VideoWriter.fourcc(*'mp4v')
                if not writer.open(str(path), code, fps, (width, height)):
                    raise OSError(f'OpenCV cannot write {path}')
            count += 1
            writer.write(np.ascontiguousarray(picture))
    finally:
        writer.release()
    return count


def contact_sheet(files: Sequence[Path], out: Path, cell: int = 480) -> None:
    """Write pictures as one grid, about square, each at most ``cell`` wide and
    high with its margin, or less if there are many."""
    import mmcv

    columns = int(np.ceil(len(files) ** 0.5))
    cell = min(cell, SHEET // columns)
    side = cell - 8
    pictures = [mmcv.imrescale(mmcv.imread(f), (side, side)) for f in files]
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
    import mmcv
    from coco_results import CocoResults
    from mmdet.apis import DetInferencer

    from projects.sprnet import RLEMasks

    # Boxes at an image's edge, each time one is drawn
    warnings.filterwarnings('ignore', module='mmengine.visualization')
    bad: List[Path] = []
    pictures: List[Path] = []
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
