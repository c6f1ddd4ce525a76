"""Run MMDetection's own command-line tools on this repository."""

import os
import runpy
import sys
from pathlib import Path

import mmdet
import torch
from mmengine.config import Config

import projects.sprnet  # noqa: F401  for scripts that load no config of ours

from .cli import CFG_OPTIONS, one_sentence
from .configs import moved_data

SCRIPTS = Path(mmdet.__file__).parent / '.mim' / 'tools'
AMP = '--amp'


def run_script(script: str) -> None:
    """Run ``script`` of mmdet's tools with this process's arguments."""
    argv = sys.argv[1:]
    with one_sentence(script, (FloatingPointError,)):
        argv, precision = mixed_precision(script, argv)
        options = moved_paths(argv) + cpu_ranks(argv) + precision
        sys.argv[1:] = with_options(argv, options)
        runpy.run_path(str(SCRIPTS / script), run_name='__main__')


def with_options(argv: list[str], options: list[str]) -> list[str]:
    """Add config options to arguments; options that are there win."""
    if not options:
        return argv
    if CFG_OPTIONS not in argv:
        return argv + [CFG_OPTIONS] + options
    place = argv.index(CFG_OPTIONS) + 1
    return argv[:place] + options + argv[place:]


def moved_paths(argv: list[str]) -> list[str]:
    """Give the config options that ``data_root=FOLDER`` stands for, if it is
    among the arguments; see :func:`.configs.moved_data`."""
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
    if AMP not in argv or (script == 'train.py' and torch.cuda.is_available()):
        return argv, []
    if script == 'train.py':
        options = ['optim_wrapper.type=BFloat16OptimWrapper']
    else:
        options = ['test_cfg.fp16=True']
    return [a for a in argv if a != AMP], options


def cpu_ranks(argv: list[str]) -> list[str]:
    """Start the process group of a launched rank on a machine without a GPU.

    mmengine would choose a GPU for the rank and wrap the model for it.

    Returns:
        Config options for a wrapper without a device.
    """
    launched = any(a.startswith('--launcher') for a in argv)
    if not launched or torch.cuda.is_available():
        return []
    if 'RANK' not in os.environ:
        sys.exit(
            'no GPU found: without one, ranks are started by '
            'tools/dist_train.sh or tools/dist_test.sh'
        )
    torch.distributed.init_process_group('gloo')
    return [
        'model_wrapper_cfg.type=MMDistributedDataParallel',
        'model_wrapper_cfg.device_ids=None',
        'model_wrapper_cfg.broadcast_buffers=False',
    ]
