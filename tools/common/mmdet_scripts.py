"""Run MMDetection's own command-line tools on this repository."""

import os
import runpy
import sys
from pathlib import Path

import mmdet
import torch
from mmengine.config import Config

import projects.sprnet  # noqa: F401  for scripts that load no config

from .cli import CFG_OPTIONS, one_sentence
from .configs import moved_data

SCRIPTS = Path(mmdet.__file__).parent / '.mim' / 'tools'
AMP = '--amp'


def run_script(script: str) -> None:
    """Run a script of mmdet's tools with the arguments of this process."""
    argv = sys.argv[1:]
    with one_sentence(script, (FloatingPointError,)):
        argv, precision = mixed_precision(script, argv)
        options = data_options(argv) + cpu_rank_options(argv) + precision
        sys.argv[1:] = with_options(argv, options)
        runpy.run_path(str(SCRIPTS / script), run_name='__main__')


def with_options(argv: list[str], options: list[str]) -> list[str]:
    """Add config options to arguments; options given by the user win."""
    if not options:
        return argv
    if CFG_OPTIONS not in argv:
        return [*argv, CFG_OPTIONS, *options]
    start = argv.index(CFG_OPTIONS) + 1  # of two equal keys the later wins
    return argv[:start] + options + argv[start:]


def data_options(argv: list[str]) -> list[str]:
    """Config options that ``data_root=FOLDER`` stands for, if it is given.

    See :func:`.configs.moved_data`.
    """
    roots = [a.split('=', 1)[1] for a in argv if a.startswith('data_root=')]
    configs = [a for a in argv if a.endswith('.py')]
    if not roots or not configs:
        return []
    config = Config.fromfile(configs[0], import_custom_modules=False)
    try:
        moved = moved_data(config, roots[-1])
    except ValueError as error:
        sys.exit(str(error))
    return [f'{key}={path}' for key, path in moved.items()]


def mixed_precision(
    script: str, argv: list[str]
) -> tuple[list[str], list[str]]:
    """Replace --amp where MMDetection's tool does not support it.

    Returns:
        The remaining arguments, and config options.
    """
    training = script == 'train.py'
    if AMP not in argv or (training and torch.cuda.is_available()):
        return argv, []
    option = (
        'optim_wrapper.type=BFloat16OptimWrapper'
        if training
        else 'test_cfg.fp16=True'
    )
    return [a for a in argv if a != AMP], [option]


def cpu_rank_options(argv: list[str]) -> list[str]:
    """Join the process group if this is a rank on a machine without a GPU.

    mmengine itself would choose a GPU for the rank and wrap the model for it.

    Returns:
        Config options of a model wrapper without a device.
    """
    launched = any(a.startswith('--launcher') for a in argv)
    if not launched or torch.cuda.is_available():
        return []
    if 'RANK' not in os.environ:
        sys.exit(
            '--launcher found no GPU; without one, start ranks with '
            'tools/dist_train.sh or tools/dist_test.sh'
        )
    torch.distributed.init_process_group('gloo')
    return [
        'model_wrapper_cfg.type=MMDistributedDataParallel',
        'model_wrapper_cfg.device_ids=None',
        'model_wrapper_cfg.broadcast_buffers=False',
    ]
