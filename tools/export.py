"""Export a detector with its masks to one ONNX file, and check the file.

    python tools/export.py
    python tools/export.py CONFIG CHECKPOINT OUT.onnx

Without arguments, export the detector that `make demo` trained. The file takes
any number of images of any size and returns boxes, scores, labels and masks.
Its metadata holds the classes, the thresholds and the preprocessing.
tools/onnx_export/README.md describes the format; tools/onnx_client.py runs the
file without PyTorch.

The command then runs the file with that client on real images. The result must
match PyTorch's: boxes within 0.1 pixel, scores within 0.001, masks with an IoU
of at least 0.99.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from common.cli import (
    add_cfg_options,
    at_least_one,
    existing,
    one_sentence,
    optional_packages,
    parser_of,
    require,
)
from common.configs import load_config, load_model
from common.demo_model import add_model_arguments, default_to_demo
from common.images import image_files, readable, select

import cv2
import mmcv
import numpy as np
import torch
from mmdet.apis import inference_detector
from mmdet.registry import DATASETS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.dataset import Compose
from speed.clock import in_turns, seconds
from speed.machine import machine
from torch import nn

from projects.sprnet import DenseMasks
from projects.sprnet.errors import InputError

with optional_packages() as MISSING:
    import onnxruntime
    from onnx_client import detect
    from onnx_export.compare import (
        ALONE,
        LIMIT,
        Difference,
        difference,
        largest_difference,
    )
    from onnx_export.graph import export


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_model_arguments(parser)
    parser.add_argument(
        'out',
        type=Path,
        nargs='?',
        metavar='OUT.onnx',
        help="default: the checkpoint's path, ending in .onnx",
    )
    parser.add_argument(
        '--images',
        type=existing,
        nargs='+',
        metavar='IMAGE_OR_FOLDER',
        help="images to compare on (default: the config's test data)",
    )
    parser.add_argument(
        '--number',
        type=at_least_one,
        default=8,
        help='without --images, compare on the first so many (8)',
    )
    parser.add_argument(
        '--time',
        type=at_least_one,
        metavar='ROUNDS',
        help='also time each image so many times in onnxruntime and in '
        'PyTorch, from its pixels to masks of its size',
    )
    add_cfg_options(parser)
    return parser.parse_args()


def find_images(args: argparse.Namespace, config: Config) -> list[Path]:
    """List the images to compare on.

    Raises:
        InputError: A file of --images is not a readable image.
    """
    if args.images:
        # Separately: two folders may have files of the same name.
        files = [f for path in args.images for f in image_files([path])]
        images, unreadable = readable(files)
        if unreadable:
            raise InputError(
                '--images: cannot be read as images: '
                f'{", ".join(map(str, unreadable))}'
            )
        return images
    dataset = DATASETS.build(config.test_dataloader.dataset)
    return [
        Path(dataset.get_data_info(i)['img_path'])
        for i in select(dataset, (), args.number)
    ]


def open_session(path: Path) -> 'onnxruntime.InferenceSession':
    """Load a file into onnxruntime, with as many threads as PyTorch uses."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(path, options)


def compare(
    detector: nn.Module,
    session: 'onnxruntime.InferenceSession',
    images: Sequence[Path],
) -> list['Difference']:
    """Compare the file's detections in each image with PyTorch's."""
    # Whatever the config's mask_output is: the file has no run lengths.
    detector.mask_head.mask_output = DenseMasks()
    return [
        difference(
            detect(session, cv2.imread(str(image))),
            inference_detector(detector, str(image)).pred_instances,
        )
        for image in images
    ]


def time_both(
    detector: nn.Module,
    session: 'onnxruntime.InferenceSession',
    images: Sequence[Path],
    rounds: int,
) -> str:
    """Time each image in onnxruntime and PyTorch; describe the result."""
    pipeline = get_test_pipeline_cfg(detector.cfg.copy())
    pipeline[0].type = 'mmdet.LoadImageFromNDArray'
    pipeline = Compose(pipeline)
    cpu = torch.device('cpu')
    arrays = [mmcv.imread(image) for image in images]
    runs = {}
    for n, array in enumerate(arrays):
        run_pytorch = partial(inference_detector, detector, array, pipeline)
        run_onnx = partial(detect, session, array)
        runs['PyTorch', n] = partial(seconds, run_pytorch, cpu)
        runs['onnxruntime', n] = partial(seconds, run_onnx, cpu)
    times = in_turns(runs, rounds, lambda text: None, warm_up=1)
    pytorch, onnx = (
        np.array([times[name, n] for n in range(len(arrays))])
        for name in ('PyTorch', 'onnxruntime')
    )
    low, median, high = np.quantile(onnx / pytorch, (0.25, 0.5, 0.75))
    here = machine(cpu)
    return (
        f'an image takes {np.median(onnx):.3f} s, with PyTorch '
        f'{np.median(pytorch):.3f} s; the median ratio of {onnx.size} pairs '
        f'is {median:.2f}, and half of the ratios are between {low:.2f} and '
        f'{high:.2f}\n'
        f'({here["processor"]}, {here["software"]}, '
        f'onnxruntime {version("onnxruntime")})'
    )


def main() -> None:
    args = parse_args()
    require(MISSING)
    with one_sentence():
        default_to_demo(args)
        args.out = args.out or args.checkpoint.with_suffix('.onnx')
        config = load_config(args.config, args.cfg_options)
        detector = load_model(config, args.checkpoint, 'cpu')
        images = find_images(args, config)
        export(detector, config, args.out)
        print(f'written to {args.out}')
        session = open_session(args.out)
        differences = compare(detector, session, images)
    result = largest_difference(differences)
    print(f'{len(images)} images, {result}')
    if not result.detections and not result.alone:
        sys.exit(
            'export.py: no detections to compare; choose other images with '
            '--images'
        )
    if not result.tolerable():
        worst = next(
            image
            for image, found in zip(images, differences)
            if not found.tolerable()
        )
        sys.exit(
            f'export.py: {args.out} is written, but it differs from PyTorch, '
            f'first for {worst}, by more than {LIMIT.box} pixels or a score '
            f'of {LIMIT.score}, masks have an IoU below {LIMIT.mask_iou}, or '
            f'more than {ALONE:.0%} of the detections are in one result only'
        )
    if args.time:
        print(time_both(detector, session, images, args.time))


if __name__ == '__main__':
    main()
