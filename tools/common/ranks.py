"""What a rank of distributed training or testing needs besides mmengine."""

import argparse
import os
import sys
from datetime import timedelta

import torch
from mmengine.config import Config

from .cli import add_cfg_options

TIMEOUT = 'env_cfg.dist_cfg.timeout'


def rank_options(argv: list[str]) -> list[str]:
    """Prepare this process to be a rank, if a launcher started it.

    Returns:
        Config options that the rank needs.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('--launcher', default='none')
    add_cfg_options(parser)
    args, others = parser.parse_known_args(argv)
    if args.launcher == 'none':
        return []
    if 'SLURM_JOB_ID' in os.environ:
        # mmengine would give all jobs on a node the same port.
        port = 15000 + int(os.environ['SLURM_JOB_ID']) % 10000
        os.environ.setdefault('MASTER_PORT', str(port))
    config = next((a for a in others if a.endswith('.py')), None)
    timeout = _timeout(config, args.cfg_options)
    if torch.cuda.is_available():
        return []
    return _join_on_cpu(timeout)


def _timeout(config: str | None, options: dict) -> timedelta | None:
    """How long a rank waits for the others; None: PyTorch's default."""
    seconds = options.get(TIMEOUT)
    if seconds is None and config:
        loaded = Config.fromfile(config, import_custom_modules=False)
        dist_cfg = loaded.get('env_cfg', {}).get('dist_cfg', {})
        seconds = dist_cfg.get('timeout')
    if seconds is None:
        return None
    if not isinstance(seconds, (int, float)) or seconds <= 0:
        sys.exit(f'{TIMEOUT}={seconds} must be a number of seconds above 0')
    return timedelta(seconds=seconds)


def _join_on_cpu(timeout: timedelta | None) -> list[str]:
    """Join the process group on a machine without a GPU.

    mmengine itself would choose a GPU for the rank and wrap the model for it.

    Returns:
        Config options of a model wrapper without a device.
    """
    if 'RANK' not in os.environ:
        sys.exit(
            '--launcher found no GPU; without one, start ranks with '
            'tools/dist_train.sh or tools/dist_test.sh'
        )
    torch.distributed.init_process_group('gloo', timeout=timeout)
    return [
        'model_wrapper_cfg.type=MMDistributedDataParallel',
        'model_wrapper_cfg.device_ids=None',
        'model_wrapper_cfg.broadcast_buffers=False',
    ]
