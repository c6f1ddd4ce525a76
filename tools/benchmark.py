"""Time and memory of SPRNet beside RetinaNet and other detectors with masks.

    python tools/benchmark.py
    python tools/benchmark.py --quick
    python tools/benchmark.py --models MY_CONFIG.py mmdet::PATH/OF/CONFIG.py

measures models in turns, on one machine in one run, and writes OUT_DIR/
results.json, README.md (tables) and stages.png (a chart). Ratios count, not
seconds: machines are slower at one time than at another.

All models have random weights and return exactly 100 instances of one
picture, at its size of 427x640 from an input of 800x1216 (--size), and choose
them among about 3,000 candidates: each model's score threshold is where so
many of its own scores exceed it. SOLOv2 makes the masks of all candidates, and
so is given 500. Nothing is downloaded.

Parts (--parts), in minutes on 2 cores for the default models:

    latency     an image, and its stages (7)
    batches     images a second at batch 4 (3)
    training    a step, forward and backward apart (4)
    memory      peaks in testing and training (4)
    growth      with image size, detections, objects, classes, output size (6)
    options     --amp, channels_last and compile=True (2)
    complexity  parameters and FLOPs (1)
    paper       the five speeds of the paper's Table 2 (2)

training, memory and batches are of RetinaNet, SPRNet, Mask R-CNN and the
models of --models. What was measured is written after every part.
"""

import argparse
import json
import shlex
import sys
import warnings
from datetime import date
from pathlib import Path

import torch
from common.cli import (
    add_device,
    add_out_dir,
    at_least_one,
    one_sentence,
    parser_of,
)
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
QUICK_PARTS = ('latency', 'complexity')


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_out_dir(parser, 'work_dirs/benchmark')
    parser.add_argument(
        '--models',
        nargs='+',
        metavar='CONFIG',
        default=[],
        help='configs to measure instead of the default peers, files or '
        'mmdet::...; RetinaNet, SPRNet and Mask R-CNN remain',
    )
    parser.add_argument(
        '--parts', nargs='+', choices=PARTS, help='what to measure (all)'
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='latency and complexity of the main models',
    )
    parser.add_argument(
        '--rounds', type=at_least_one, help='of latency (5; --quick: 2)'
    )
    parser.add_argument(
        '--size',
        type=at_least_one,
        nargs=2,
        default=(800, 1333),
        metavar=('SHORT', 'LONG'),
        help="the input's sides at most, as in a pipeline's Resize (800 1333)",
    )
    add_device(parser)
    return parser.parse_args()


def report(text: str) -> None:
    """Say what is under way, in one line of the terminal."""
    print(f'\r\033[K{text}', end='', file=sys.stderr, flush=True)


def main() -> None:
    args = parse_args()

    warnings.simplefilter('ignore')
    device = torch.device(
        args.device or ('cuda:0' if torch.cuda.is_available() else 'cpu')
    )
    main_paths = {name: DEFAULT[name] for name in MAIN}
    own = {Path(path).stem: path for path in args.models}
    peers = {} if args.quick or own else DEFAULT
    wanted = args.parts or (QUICK_PARTS if args.quick else PARTS)
    results = dict(
        run=dict(
            command=shlex.join(
                ['python', 'tools/benchmark.py', *sys.argv[1:]]
            ),
            date=str(date.today()),
            **machine(device),
        )
    )
    args.out_dir.mkdir(parents=True, exist_ok=True)
    with one_sentence():
        parts = Parts(
            {**main_paths, **peers, **own},
            [*main_paths, *own],
            device,
            tuple(args.size),
            args.rounds or (2 if args.quick else 5),
            report,
        )
        for part in wanted:
            results.update(getattr(parts, part)())
            (args.out_dir / 'results.json').write_text(
                json.dumps(results, indent=1)
            )
            (args.out_dir / 'README.md').write_text(page(results))
            if 'stages' in results:
                chart(results, args.out_dir / 'stages.png')
    report('')
    print(page(results))
    print(f'written to {args.out_dir}')


if __name__ == '__main__':
    main()
