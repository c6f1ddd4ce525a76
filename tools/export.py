"""Write a detector with its masks to one ONNX file, and check it.

    python tools/export.py
    python tools/export.py CONFIG CHECKPOINT OUT.onnx

The first is the demo's. The file takes batches of any number and size:

    images        (N, 3, H, W) float32, normalised and padded below and right
    image_shapes  (N, 2) int64, heights and widths without the padding

and gives the D detections of all the images after NMS, image by image, best
first:

    image_index   (D,) int64, of which image
    boxes         (D, 4) float32, x1, y1, x2, y2 in pixels of the input
    scores        (D,) float32
    labels        (D,) int64
    masks         (D, 32, 32) float32, probabilities that fill the box

Classes, thresholds and how to make the input stand in the file's metadata.
tools/onnx_client.py reads them, and is all that a program without PyTorch
needs; tools/onnx_export/README.md has more.

The file is then run by that client on real images, and must find what PyTorch
finds: boxes within 0.1 pixel, scores within 0.001, masks with an IoU of 0.99.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import cv2
import mmcv
import numpy as np
import torch
from common.cli import (
    add_cfg_options,
    at_least_one,
    existing,
    one_sentence,
    parser_of,
)
from common.configs import load_config, load_model
from common.demo_model import add_model, fill_in
from common.images import image_files, readable, select
from mmdet.apis import inference_detector
from mmdet.registry import DATASETS
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.dataset import Compose
from speed.clock import in_turns, seconds
from speed.machine import machine
from torch import nn

from projects.sprnet import DenseMasks

try:  # requirements-tools.txt has these packages
    import onnxruntime
    from onnx_client import detect
    from onnx_export.compare import LIMIT, Difference, difference, greatest
    from onnx_export.graph import export
except ModuleNotFoundError as error:
    MISSING = error.name
else:
    MISSING = ''


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_model(parser)
    parser.add_argument(
        'out',
        type=Path,
        nargs='?',
        metavar='OUT.onnx',
        help='default: beside the checkpoint, with its name',
    )
    parser.add_argument(
        '--images',
        type=existing,
        nargs='+',
        metavar='IMAGE_OR_FOLDER',
        help="what it is checked on (images of the config's test data)",
    )
    parser.add_argument(
        '--number',
        type=at_least_one,
        default=8,
        help='without --images, the first so many (8)',
    )
    parser.add_argument(
        '--time',
        type=at_least_one,
        metavar='ROUNDS',
        help='also time it beside PyTorch: every image so many times, in '
        'turns, from its pixels to masks of its size',
    )
    add_cfg_options(parser)
    return parser.parse_args()


def some_images(config: Config, number: int) -> list[Path]:
    """Files of the first images of a config's test data."""
    dataset = DATASETS.build(config.test_dataloader.dataset)
    return [
        Path(dataset.get_data_info(i)['img_path'])
        for i in select(dataset, (), number)
    ]


def check(
    detector: nn.Module,
    session: 'onnxruntime.InferenceSession',
    images: Sequence[Path],
) -> 'Difference':
    """How far the file's detections are from PyTorch's.

    Raises:
        ValueError: Other detections; names the image.
    """
    # Also where the config gives them as run lengths
    detector.mask_head.mask_output = DenseMasks()
    differences = []
    for image in images:
        theirs = inference_detector(detector, str(image)).pred_instances
        try:
            ours = detect(session, cv2.imread(str(image)))
            differences.append(difference(ours, theirs))
        except ValueError as error:
            raise ValueError(
                f'the file is written, but in {image} it finds {error}'
            ) from error
    return greatest(differences)


def times(
    detector: nn.Module,
    session: 'onnxruntime.InferenceSession',
    images: Sequence[Path],
    rounds: int,
) -> str:
    """Time of an image in both, taken in turns, in words."""
    pipeline = get_test_pipeline_cfg(detector.cfg.copy())
    pipeline[0].type = 'mmdet.LoadImageFromNDArray'
    pipeline = Compose(pipeline)
    cpu = torch.device('cpu')
    arrays = [mmcv.imread(image) for image in images]
    runs = {}
    for n, array in enumerate(arrays):
        runs['PyTorch', n] = lambda array=array: seconds(
            lambda: inference_detector(detector, array, pipeline), cpu
        )
        runs['onnxruntime', n] = lambda array=array: seconds(
            lambda: detect(session, array), cpu
        )
    found = in_turns(runs, rounds, lambda text: None, warm_up=1)
    theirs, ours = (
        np.array([found[name, n] for n in range(len(arrays))])
        for name in ('PyTorch', 'onnxruntime')
    )
    low, middle, high = np.quantile(ours / theirs, (0.25, 0.5, 0.75))
    here = machine(cpu)
    return (
        f'an image takes {np.median(ours):.3f} s, with PyTorch '
        f'{np.median(theirs):.3f} s; of {ours.size} pairs half the ratios lie '
        f'between {low:.2f} and {high:.2f}, their median is {middle:.2f}\n'
        f'({here["processor"]}, {here["software"]}, '
        f'onnxruntime {version("onnxruntime")})'
    )


def main() -> None:
    args = parse_args()
    if MISSING:
        sys.exit(
            f'export.py: not installed: {MISSING}; '
            'pip install -r requirements-tools.txt'
        )
    with one_sentence():
        fill_in(args)
        args.out = args.out or args.checkpoint.with_suffix('.onnx')
        config = load_config(args.config, args.cfg_options)
        if args.images:
            files = [f for path in args.images for f in image_files([path])]
            images, unreadable = readable(files)
            if unreadable:
                raise ValueError(
                    f'no images: {", ".join(map(str, unreadable))}'
                )
        else:
            images = some_images(config, args.number)
        detector = load_model(config, args.checkpoint, 'cpu')
        export(detector, config, args.out)
        print(f'written to {args.out}')
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(args.out, options)
        found = check(detector, session, images)
    print(f'{len(images)} images, {found}')
    if not found.detections:
        sys.exit('export.py: nothing to compare; --images names others')
    if not found.tolerable():
        sys.exit(
            f'export.py: {args.out} is written, but that is more than '
            f'{LIMIT.box} pixels, {LIMIT.score} or an IoU below '
            f'{LIMIT.mask_iou}'
        )
    if args.time:
        print(times(detector, session, images, args.time))


if __name__ == '__main__':
    main()
