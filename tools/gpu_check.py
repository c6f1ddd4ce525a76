"""Check SPRNet on this machine's GPUs, and write one report to send.

    python tools/gpu_check.py
    make gpu-check

It takes 8 minutes at most on a fast GPU (--minutes). Parts (--parts):

    environment  the machine and its software
    tests        tests/gpu: the GPU computes what the CPU does, in all
                 configs' kinds of models; float16, compiling, waits
    training     a short training in float32, with --amp and on all GPUs; its
                 AP on the GPU and on the CPU
    benchmark    images per second and memory, beside other models
    suite        the other tests, whose commands take the GPU

OUT_DIR/report.md and report.json are written after every part. A part that
fails or takes too long is reported, and the others go on.
"""

import argparse
import json
import shlex
import sys
import time
import traceback
from datetime import date
from pathlib import Path

from common.cli import add_device, add_out_dir, at_least_one, parser_of

import torch  # isort: skip
from gpu import parts as check
from gpu.processes import PartError, Run
from gpu.report import page
from gpu.training import training
from mmcv.ops import get_compiling_cuda_version
from speed.machine import machine

# Seconds of each part, of 8 minutes. What one leaves is the next one's.
PARTS = dict(
    environment=(check.environment, 20),
    tests=(check.tests, 100),
    training=(training, 130),
    benchmark=(check.benchmark, 160),
    suite=(check.suite, 70),
)


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_out_dir(parser, 'work_dirs/gpu_check')
    parser.add_argument(
        '--parts', nargs='+', choices=PARTS, help='what to check (all)'
    )
    parser.add_argument(
        '--minutes',
        type=at_least_one,
        default=8,
        help='time for all parts together (8); more for a slow GPU',
    )
    add_device(parser)
    return parser.parse_args()


def missing() -> str | None:
    """Why there is nothing to check on this machine."""
    if not torch.cuda.is_available():
        return (
            f'PyTorch {torch.__version__} finds no GPU on this machine; '
            '--device cpu shows that the parts run'
        )
    if get_compiling_cuda_version() == 'not available':
        return (
            'mmcv was compiled without CUDA; install a CUDA toolkit with nvcc '
            'and run `make setup OPS=all`'
        )
    return None


def run_part(name: str, folder: Path, device: str, end: float) -> dict:
    """Run a part; return its results with its state and error."""
    results: dict = {}
    start = time.monotonic()
    try:
        PARTS[name][0](Run(folder, device, end), results)
        results['state'] = 'passed'
    except PartError as error:
        results.update(state='FAILED', error=str(error))
    except Exception:  # a fault of this command must not stop the others
        results.update(state='FAILED', error=traceback.format_exc())
    results['seconds'] = time.monotonic() - start
    return results


def main() -> None:
    args = parse_args()
    device = args.device or 'cuda:0'
    if device != 'cpu' and (reason := missing()):
        sys.exit(f'gpu_check.py: {reason}')
    folder = args.out_dir.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    command = shlex.join(['python', 'tools/gpu_check.py', *sys.argv[1:]])
    facts = machine(torch.device(device))
    run = dict(command=command, date=str(date.today()), **facts)
    report: dict = dict(run=run, parts={})
    scale = args.minutes / 8
    if device == 'cpu':
        scale *= 60  # nothing is to be stopped
    end = time.monotonic()
    for name in args.parts or PARTS:
        end += PARTS[name][1] * scale
        print(f'{name} ... ', end='', flush=True)
        results = run_part(name, folder, device, end)
        print(f'{results["state"]}, {results["seconds"]:.0f} s', flush=True)
        report['parts'][name] = results
        (folder / 'report.json').write_text(json.dumps(report, indent=1))
        (folder / 'report.md').write_text(page(report))
    print(f'written to {args.out_dir}/report.md and report.json')
    if any(r['state'] != 'passed' for r in report['parts'].values()):
        sys.exit(1)


if __name__ == '__main__':
    main()
