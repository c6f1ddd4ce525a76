"""What the figure commands share: their input, and how pictures are laid out.

Errors of the input end in one sentence, see :func:`one_sentence`.
"""

import argparse
import pickle
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Iterator, List, Sequence, Tuple

import numpy as np
from mmdet_tool import CFG_OPTIONS, ROOT, moved_data, refused
from mmengine.config import Config, DictAction

if TYPE_CHECKING:
    from mmengine.dataset import BaseDataset
    from torch import nn

sys.path.insert(0, str(ROOT))


def existing(text: str) -> Path:
    """An argument that names a file or a folder."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f'{path} does not exist')
    return path


def at_least_one(text: str) -> int:
    """An argument that counts."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is no number above 0')
    return int(text)


def score(text: str) -> float:
    """An argument that is a score, in 0..1."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is no score in 0..1')
    return value


def device(text: str) -> str:
    """An argument that is a device of this machine."""
    import torch

    try:
        torch.empty(0, device=text)
    except (AssertionError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(
            f'{text} cannot be used here: {why}'
        ) from error
    return text


def parser_of(doc: str) -> argparse.ArgumentParser:
    """A parser whose help is a tool's docstring."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_out_dir(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path(default),
        help=f'where the results go ({default})',
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--device',
        type=device,
        help='such as cpu or cuda:0 (the GPU if there is one)',
    )


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        CFG_OPTIONS,
        nargs='+',
        action=DictAction,
        default={},
        help='options of the config, as for train.py, such as data_root=DIR',
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--image-ids', type=int, nargs='+', help='these images of the data set'
    )
    parser.add_argument(
        '--number',
        type=at_least_one,
        default=8,
        help='without --image-ids, the first so many images (8)',
    )


@contextmanager
def one_sentence() -> Iterator[None]:
    """End the program with a sentence where its input is at fault."""
    tool = Path(sys.argv[0]).name
    try:
        yield
    except FileNotFoundError as error:
        sys.exit(
            f'{tool}: {error} (data elsewhere? {CFG_OPTIONS} data_root=FOLDER)'
        )
    except pickle.UnpicklingError as error:
        sys.exit(refused(tool, error))
    except (ArithmeticError, OSError, SyntaxError, ValueError) as error:
        sys.exit(f'{tool}: {error}')


def load_config(path: Path, options: dict) -> Config:
    """A config with options, of which ``data_root`` moves all of its data."""
    config = Config.fromfile(path)
    if 'data_root' in options:
        moved = moved_data([str(path), f'data_root={options["data_root"]}'])
        config.merge_from_dict(dict(m.split('=', 1) for m in moved))
    config.merge_from_dict(options)
    return config


def load_model(config: Config, checkpoint: Path, device: str) -> 'nn.Module':
    """A detector with its weights, ready to predict."""
    import torch
    from mmdet.apis import init_detector

    import projects.sprnet  # noqa: F401  lets torch read any of our checkpoints

    if device is None:
        device = 'cuda:0' if torch.cuda.is_available() else 'cpu'
    return init_detector(config, str(checkpoint), device=device)


def select(
    dataset: 'BaseDataset', image_ids: Sequence[int], number: int
) -> List[int]:
    """Indices of the images that :func:`add_selection`'s arguments mean.

    Raises:
        ValueError: An image id that the data set does not have.
    """
    if not image_ids:
        return list(range(min(number, len(dataset))))
    index = {
        dataset.get_data_info(i)['img_id']: i for i in range(len(dataset))
    }
    unknown = [i for i in image_ids if i not in index]
    if unknown:
        raise ValueError(
            f'no image {", ".join(map(str, unknown))} in {dataset.ann_file}, '
            'or the config filters it out'
        )
    return [index[i] for i in image_ids]


def folder_images(folder: Path) -> List[Path]:
    """The images of a folder, those that MMDetection's DetInferencer takes.

    Raises:
        ValueError: There are none.
    """
    from mmdet.apis.det_inferencer import IMG_EXTENSIONS

    found = sorted(
        p for p in folder.iterdir() if p.suffix.lower() in IMG_EXTENSIONS
    )
    if not found:
        raise ValueError(f'{folder} has no images')
    return found


def image_files(paths: Sequence[Path]) -> List[Path]:
    """Images, and the images of folders.

    Raises:
        ValueError: A folder without images, or two images whose results would
            bear the same name.
    """
    files: List[Path] = []
    for path in paths:
        if path.is_dir():
            files += folder_images(path)
        else:
            files.append(path)
    by_name = {}
    for file in files:
        other = by_name.setdefault(file.stem, file)
        if other is not file:
            raise ValueError(
                f'{other} and {file} would be written to the same name; '
                'give them an --out-dir each'
            )
    return files


def readable(files: Sequence[Path]) -> Tuple[List[Path], List[Path]]:
    """Divide files into images and those that cannot be read as such."""
    import cv2
    import mmcv

    good, bad = [], []
    for file in files:
        try:
            found = mmcv.imread(file) is not None
        except cv2.error:  # an empty file
            found = False
        (good if found else bad).append(file)
    return good, bad


def save_panels(
    panels: Sequence[Tuple[str, np.ndarray]], columns: int, path: Path
) -> None:
    """Write titled pictures, (H, W, 3) uint8 RGB, as one grid."""
    from matplotlib.figure import Figure

    rows = -(-len(panels) // columns)
    aspect = max(image.shape[0] / image.shape[1] for _, image in panels)
    figure = Figure(
        figsize=(6 * columns, rows * (6 * aspect + 0.9)), layout='constrained'
    )
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis('off')
    for ax, (title, image) in zip(axes, panels):
        ax.imshow(image)
        ax.set_title(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
