"""Find and load the images and videos that predict.py is given."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import NamedTuple

from common.images import folder_images

import mmcv
import numpy as np
from mmcv import VideoReader
from mmdet.apis import DetInferencer
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from rich.progress import track

Files = dict[Path, Path]  # each file's path below vis/ and preds/
VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')


class Item(NamedTuple):
    """A loaded image or frame of a video."""

    file: Path
    coco_image: dict  # its entry in a COCO JSON, without height and width
    json_path: Path  # of its predictions, below preds/
    picture: np.ndarray  # (H, W, 3) uint8 BGR
    data: dict  # the model's input, from the test pipeline


def input_files(inputs: Sequence[str]) -> tuple[Files, Files]:
    """Find the images and the videos that the inputs name, each once.

    Results keep the files' path relative to their common folder.

    Raises:
        ValueError: An input names no file.
    """
    by_path: dict[str, Path] = {}
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            files = folder_images(path)
        elif path.exists():
            files = [path]
        else:
            matches = map(Path, sorted(glob(text, recursive=True)))
            known = (*IMG_EXTENSIONS, *VIDEOS)
            files = [p for p in matches if p.suffix.lower() in known]
        if not files:
            raise ValueError(
                f'{text} does not exist and matches no image or video'
            )
        by_path.update({os.path.abspath(file): file for file in files})
    folder = os.path.commonpath([os.path.dirname(path) for path in by_path])
    images: Files = {}
    videos: Files = {}
    for path, file in by_path.items():
        kind = videos if file.suffix.lower() in VIDEOS else images
        kind[file] = Path(os.path.relpath(path, folder))
    return images, videos


def json_names(files: Files) -> Files:
    """Name each file's JSON; the suffix stays if names differ by it alone."""
    count = Counter(name.with_suffix('') for name in files.values())
    return {
        file: Path(f'{name.with_suffix("")}.json')
        if count[name.with_suffix('')] == 1
        else Path(f'{name}.json')
        for file, name in files.items()
    }


def loaded_images(
    inferencer: DetInferencer,
    files: Files,
    ids: dict[Path, int],
    unreadable: list[Path],
) -> Iterator[Item]:
    """Load images one by one; append those that fail to ``unreadable``."""
    json_paths = json_names(files)
    for file, name in track(files.items(), description='Images'):
        try:
            picture = mmcv.imread(file)
            data = inferencer.pipeline(str(file))
        except Exception:  # the libraries raise many types for broken files
            unreadable.append(file)
            continue
        coco_image = dict(id=ids[file], file_name=name.as_posix())
        yield Item(file, coco_image, json_paths[file], picture, data)


def loaded_frames(
    inferencer: DetInferencer,
    video: VideoReader,
    file: Path,
    name: Path,
    first_id: int,
) -> Iterator[Item]:
    """Load frames one by one; their image ids count from ``first_id``."""
    total = max(video.frame_cnt, 0)  # negative where the file lacks it
    for n, frame in enumerate(track(video, name.name, total)):
        coco_image = dict(
            id=first_id + n, file_name=name.as_posix(), frame_id=n
        )
        data = inferencer.pipeline(frame)
        yield Item(file, coco_image, name / f'{n:06d}.json', frame, data)
