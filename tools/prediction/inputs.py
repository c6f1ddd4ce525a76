"""What predict.py is given: images and frames of videos."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from glob import glob
from pathlib import Path
from typing import NamedTuple

import mmcv
import numpy as np
from common.images import folder_images
from mmcv import VideoReader
from mmdet.apis import DetInferencer
from mmdet.apis.det_inferencer import IMG_EXTENSIONS
from rich.progress import track

VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.mpeg', '.mpg', '.webm')


class Item(NamedTuple):
    """An image, or a frame of a video, that is loaded."""

    file: Path
    image: dict  # COCO's entry of it
    json: Path  # below preds/
    picture: np.ndarray  # (H, W, 3) uint8 BGR
    data: dict  # what the model is given


def input_files(inputs: Sequence[str]) -> dict[Path, Path]:
    """The files that images, videos, folders and globs mean, each once.

    Returns:
        For each file its path below the folder that holds all of them.

    Raises:
        ValueError: An input that leads to no file.
    """
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


def json_names(files: dict[Path, Path]) -> dict[Path, Path]:
    """The JSON of each file, which keeps a suffix that tells two apart."""
    count = Counter(name.with_suffix('') for name in files.values())
    return {
        file: Path(f'{name.with_suffix("")}.json')
        if count[name.with_suffix('')] == 1
        else Path(f'{name}.json')
        for file, name in files.items()
    }


def loaded_images(
    inferencer: DetInferencer,
    files: dict[Path, Path],
    ids: dict[Path, int],
    bad: list[Path],
) -> Iterator[Item]:
    """Images under their names, one by one; ``bad`` is given the rest."""
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
    inferencer: DetInferencer,
    video: VideoReader,
    file: Path,
    name: Path,
    first: int,
) -> Iterator[Item]:
    """Frames of a video, one by one, with the image ids from ``first`` on."""
    total = max(video.frame_cnt, 0)  # some files do not say
    for n, frame in enumerate(track(video, name.name, total)):
        image = dict(id=first + n, file_name=name.as_posix(), frame_id=n)
        data = inferencer.pipeline(frame)
        yield Item(file, image, name / f'{n:06d}.json', frame, data)
