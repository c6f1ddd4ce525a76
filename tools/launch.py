"""Start the ranks of a tool on this node with torch.distributed.run:

    python tools/launch.py RANKS SCRIPT ARGUMENTS...

dist_train.sh and dist_test.sh call it. Environment: NNODES, NODE_RANK,
MASTER_ADDR, PORT.
"""

import os
import socket
import sys
from pathlib import Path

from common.launcher_link import LAUNCHER

import torch
from torch.distributed import run

NO_GPU = (None, '', '-1')  # values of CUDA_VISIBLE_DEVICES


def fail(sentence: str) -> None:
    """End the program with one sentence."""
    sys.exit(f'{Path(__file__).name}: {sentence}')


def whole(name: str, text: str, least: int, most: int) -> int:
    """Parse a whole number from ``least`` to ``most``."""
    if not (text.isdecimal() and least <= int(text) <= most):
        fail(f'{name}={text} must be a whole number from {least} to {most}')
    return int(text)


def check_gpus(ranks: int) -> None:
    """Refuse more ranks than visible GPUs, except on a CPU alone."""
    count = torch.cuda.device_count()
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    if not count and visible in NO_GPU:
        print(f'no GPU is visible; starting {ranks} ranks on the CPU')
    elif ranks > count:
        where = 'this node'
        if visible is not None:
            where = f'CUDA_VISIBLE_DEVICES={visible}'
        fail(
            f'{ranks} ranks need a GPU each, but {where} has {count}; start '
            'fewer ranks, or CPU ranks with CUDA_VISIBLE_DEVICES=-1'
        )


def port_in_use(port: int) -> bool:
    """Whether another process of this node listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('', port))
        except OSError:
            return True
    return False


def free_port() -> int:
    """A port on which no process of this node listens."""
    with socket.socket() as probe:
        probe.bind(('', 0))
        return probe.getsockname()[1]


def meeting_point() -> list[str]:
    """Options of torch.distributed.run that let the nodes find each other.

    One node alone takes any free port. Several need the same on each.
    """
    env = os.environ
    nodes = whole('NNODES', env.get('NNODES', '1'), 1, 9999)
    if nodes > 1:
        for name in ('NODE_RANK', 'MASTER_ADDR'):
            if not env.get(name):
                fail(f'NNODES={nodes} needs {name} too')
    node = whole('NODE_RANK', env.get('NODE_RANK', '0'), 0, nodes - 1)
    port = env.get('PORT', '29500' if nodes > 1 else '')
    if not port:
        port = str(free_port())
    elif node == 0 and port_in_use(whole('PORT', port, 1, 65535)):
        fail(
            f'PORT={port} is in use on this node; set PORT to a free port, '
            'the same on every node'
        )
    return [
        f'--nnodes={nodes}',
        f'--node-rank={node}',
        f'--master-addr={env.get("MASTER_ADDR", "127.0.0.1")}',
        f'--master-port={port}',
    ]


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    count, script, *arguments = sys.argv[1:]
    ranks = whole('GPUS', count, 1, 9999)
    check_gpus(ranks)
    os.environ[LAUNCHER] = str(os.getpid())
    if ranks > 1:  # as PyTorch and MMEngine do, with warnings
        os.environ.setdefault('OMP_NUM_THREADS', '1')
        os.environ.setdefault('MKL_NUM_THREADS', '1')
    run.main(
        [
            *meeting_point(),
            f'--nproc-per-node={ranks}',
            str(Path(__file__).with_name(script)),
            *arguments,
            '--launcher=pytorch',
        ]
    )


if __name__ == '__main__':
    main()
