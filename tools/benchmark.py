"""Measure time and memory of SPRNet, RetinaNet and other mask detectors.

    python tools/benchmark.py
    python tools/benchmark.py --quick
    python tools/benchmark.py --models MY_CONFIG.py mmdet::PATH/OF/CONFIG.py

measures all models in turns, on one machine in one run, and writes OUT_DIR/
results.json, README.md (tables) and stages.png (a chart). Compare ratios, not
seconds: the speed of a machine changes over time.

All models have random weights, so nothing is downloaded. Each returns exactly
100 instances of one picture, at the picture's size of 427x640, from an input
of 800x1216 (--size). The score threshold of each model is set so that 3,000
candidates exceed it; 500 for SOLOv2, which makes the masks of all candidates.

Parts (--parts), in minutes on 2 cores for the default models:

    latency     time per image, in total and by stage (7)
    batches     images per second at batch 4 (3)
    training    time per step, forward and backward (4)
    memory      peaks in testing and training (4)
    growth      with image size, detections, objects, classes, output size (6)
    options     --amp, channels_last and compile=True (2)
    complexity  parameters and FLOPs (1)
    paper       the five speeds of the paper's Table 2 (2)

Only if named:

    rtmdet      SPR-RTMDet-s and RTMDet-Ins-s: time by detections (1 to 1,000),
                training time and memory by objects (10 to 500)
    wrapper     what masks add to RetinaNet with R50, R101 and Swin-T

Only if named, as they are meant for a GPU:

    throughput  images per second and peak memory at batch 1 and 8, in float32
                and with --amp
    compiled    SPRNet-GFPN with compile=True
    runtimes    the exported SPRNet-GFPN in ONNX Runtime, with CUDA and with
                TensorRT if it has them

training, memory and batches measure RetinaNet, SPRNet, Mask R-CNN and the
models of --models. SparseInst is a project in MMDetection's repository, not in
its package: with that checkout on PYTHONPATH, --models takes its config. The
results are written after every part.
"""

import argparse
import json
import shlex
import sys
import warnings
from datetime import date
from pathlib import Path

from common.cli import (
    add_device,
    add_out_dir,
    at_least_one,
    one_sentence,
    parser_of,
)
from common.progress import Status

import torch
from mmengine.device import get_device
from speed.machine import machine
from speed.parts import Parts
from speed.report import chart, page
from speed.subjects import DEFAULT, MAIN

PARTS = (
    'latency',
    'batches',
    'training',
    'memory',
    'growth',
    'options',
    'complexity',
    'paper',
)
MORE_PARTS = ('rtmdet', 'wrapper')
GPU_PARTS = ('throughput', 'compiled', 'runtimes')
QUICK_PARTS = ('latency', 'complexity')


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_out_dir(parser, 'work_dirs/benchmark')
    parser.add_argument(
        '--models',
        nargs='+',
        metavar='CONFIG',
        default=[],
        help='configs to measure beside RetinaNet, SPRNet and Mask R-CNN '
        'instead of the other defaults: files or mmdet::...',
    )
    parser.add_argument(
        '--parts',
        nargs='+',
        choices=(*PARTS, *MORE_PARTS, *GPU_PARTS),
        help='what to measure (all but the last five)',
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='measure latency and complexity of the main models only',
    )
    parser.add_argument(
        '--rounds',
        type=at_least_one,
        help='number of rounds of latency (5; with --quick 2; on a GPU 20), '
        'and there of all parts',
    )
    parser.add_argument(
        '--size',
        type=at_least_one,
        nargs=2,
        default=(800, 1333),
        metavar=('SHORT', 'LONG'),
        help='largest short and long side of the input, as in the Resize of a '
        'pipeline (800 1333)',
    )
    add_device(parser)
    return parser.parse_args()


def default_rounds(quick: bool, device: torch.device) -> int:
    """Number of rounds; a GPU takes milliseconds for each."""
    if device.type == 'cuda':
        return 20
    return 2 if quick else 5


def write(results: dict, folder: Path) -> None:
    """Write what has been measured so far."""
    (folder / 'results.json').write_text(json.dumps(results, indent=1))
    (folder / 'README.md').write_text(page(results))
    if 'stages' in results:
        chart(results, folder / 'stages.png')


def main() -> None:
    args = parse_args()
    warnings.simplefilter('ignore')
    device = torch.device(args.device or get_device())
    main_paths = {name: DEFAULT[name] for name in MAIN}
    own = {Path(path).stem: path for path in args.models}
    peers = {} if args.quick or own else DEFAULT
    command = shlex.join(['python', 'tools/benchmark.py', *sys.argv[1:]])
    run = dict(command=command, date=str(date.today()), **machine(device))
    results = dict(run=run)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    report = Status(sys.stderr)
    with one_sentence():
        parts = Parts(
            {**main_paths, **peers, **own},
            [*main_paths, *own],
            device,
            tuple(args.size),
            args.rounds or default_rounds(args.quick, device),
            report,
        )
        for part in args.parts or (QUICK_PARTS if args.quick else PARTS):
            found = getattr(parts, part)()
            for entries in [found] if isinstance(found, dict) else found:
                results.update(entries)
                write(results, args.out_dir)
    report('')
    print(page(results))
    print(f'written to {args.out_dir}')


if __name__ == '__main__':
    main()
