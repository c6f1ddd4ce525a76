"""Find and load the images and videos that predict.py is given."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from common.files import PICTURES, is_result
from common.images import folder_images
from common.progress import track

import numpy as np
from mmcv import VideoReader

from projects.sprnet.errors import InputError
from projects.sprnet.runtime.image_guard import find_truncation
from projects.sprnet.runtime.loading import picture_path

from .inferencer import FileInferencer
from .pictures import mp4_name

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
        InputError: An input names no file, or two files would be drawn to the
            same picture.
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
            # A pattern that ends in another suffix asks for such files.
            known = {*PICTURES, *VIDEOS, path.suffix.lower()} - {''}
            fixed = takewhile(lambda part: not has_magic(part), path.parts)
            folder = Path(*fixed)
            files = [
                p
                for p in matches
                if p.suffix.lower() in known and not is_result(p, folder)
            ]
        if not files:
            raise InputError(
                f'{text} does not exist and matches no image or video'
            )
        by_path.update({os.path.abspath(file): file for file in files})
    folder = os.path.commonpath([os.path.dirname(path) for path in by_path])
    images: Files = {}
    videos: Files = {}
    drawn: dict[Path, Path] = {}
    for path, file in by_path.items():
        is_video = file.suffix.lower() in VIDEOS
        name = Path(os.path.relpath(path, folder))
        (videos if is_video else images)[file] = name
        picture = mp4_name(name) if is_video else picture_path(name)
        other = drawn.setdefault(picture, file)
        if other is not file:
            raise InputError(
                f'{other} and {file} would both be drawn to {picture}; rename '
                'one of them'
            )
    return images, videos


def json_names(files: Files) -> Files:
    """Name each file's JSON; the suffix stays where another file's JSON could
    have the name without it."""
    names = {file: f'{name}.json' for file, name in files.items()}
    short = {file: name.with_suffix('.json') for file, name in files.items()}
    count = Counter([*map(Path, names.values()), *short.values()])
    return {
        file: Path(short[file] if count[short[file]] == 1 else names[file])
        for file in files
    }


def loaded_images(
    inferencer: FileInferencer,
    files: Files,
    ids: dict[Path, int],
    unreadable: dict[Path, str],
) -> Iterator[Item]:
    """Load images one by one; add those that fail, and why, to
    ``unreadable``."""
    json_paths = json_names(files)
    for file, name in track(files.items(), 'images'):
        if inferencer.takes_arrays and (damage := find_truncation(file)):
            unreadable[file] = damage
            continue
        try:
            given = dict(img_path=str(file), img_id=ids[file])
            picture, data = inferencer.prepare(given)
        except Exception as error:  # libraries raise many types
            unreadable[file] = ' '.join(f'{error or error!r}'.split())
            continue
        coco_image = dict(id=ids[file], file_name=name.as_posix())
        yield Item(file, coco_image, json_paths[file], picture, data)


def loaded_frames(
    inferencer: FileInferencer,
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
        picture, data = inferencer.prepare(frame)
        yield Item(file, coco_image, name / f'{n:06d}.json', picture, data)
