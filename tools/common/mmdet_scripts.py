"""Run MMDetection's own command-line tools on this repository."""

import argparse
import os
import re
import runpy
import sys
from pathlib import Path

import mmdet
import mmengine.config
import torch
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

# Importing this package also registers it, for scripts that load no config.
from projects.sprnet.errors import InputError

from .cli import CFG_OPTIONS, OptionAction, one_sentence
from .configs import ensure_test_set, moved_data, picture_options
from .launcher_link import end_with_launcher
from .next_step import config_options, print_next
from .quiet_runner import QuietRunner
from .ranks import rank_options
from .unused_options import refuse_unused

SCRIPTS = Path(mmdet.__file__).parent / '.mim' / 'tools'
AMP = '--amp'
DRAW = ('analysis_tools/browse_dataset.py', 'test.py')


def run_script(script: str) -> None:
    """Run a script of mmdet's tools with the arguments of this process."""
    end_with_launcher()
    argv = sys.argv[1:]
    with one_sentence(script):
        check_arguments(script, argv)
        argv, precision = mixed_precision(script, argv)
        moved = data_options(argv)
        OptionAction.paths |= {option.split('=')[0] for option in moved}
        mmengine.config.DictAction = OptionAction
        options = moved + rank_options(argv) + precision
        options += worker_options(argv) + drawing_options(script, argv)
        options += runner_options(script, argv)
        if script == 'train.py':
            argv = resume_or_start(argv)
        sys.argv[1:] = with_options(argv, options)
        runpy.run_path(str(SCRIPTS / script), run_name='__main__')
        if script == 'train.py':
            print_test_and_predict(argv)
        elif script == 'test.py':
            print_predict(argv)


def check_arguments(script: str, argv: list[str]) -> None:
    """Check what MMDetection's script would find out late, or never.

    Raises:
        InputError: test.py's checkpoint is missing, or a config option would
            change nothing.
    """
    options = config_options(argv)
    if options and (config := config_of(argv)):
        refuse_unused(config, [o.partition('=')[0] for o in options[1:]])
    words = [a for a in argv if a not in options]
    files = [a for a in words if a.endswith('.pth') and '://' not in a]
    if script == 'test.py' and files and not os.path.isfile(files[0]):
        others = sorted(
            file.name for file in Path(files[0]).parent.glob('*.pth')
        )
        hint = f'; its folder has {", ".join(others)}' if others else ''
        raise InputError(f'{files[0]} does not exist{hint}')


def config_of(argv: list[str]) -> Config | None:
    """The config that arguments name first, without their options."""
    files = [a for a in argv if a.endswith('.py')]
    if not files:
        return None
    return Config.fromfile(files[0], import_custom_modules=False)


def last_checkpoint(folder: str) -> str | None:
    """The last checkpoint of a work directory, if there is one."""
    # Without this file, MMEngine's function prints that it found none.
    if os.path.isfile(os.path.join(folder, 'last_checkpoint')):
        return find_latest_checkpoint(folder)
    return None


def print_test_and_predict(argv: list[str]) -> None:
    """Print the commands that test what train.py has trained, and that predict
    without a test."""
    args, folder = training_of(argv)
    if file := last_checkpoint(folder):
        model = [args.config, os.path.relpath(file)]
        print_next('test.py', *model, '--show-dir', 'pictures', argv=argv)
        print_predict([*model, *config_options(argv)])


def print_predict(argv: list[str]) -> None:
    """Print the command that predicts on the images that test.py tested."""
    words = [a for a in argv if a.endswith(('.py', '.pth'))]
    if len(words) != 2:
        return
    config = Config.fromfile(words[0], import_custom_modules=False)
    ensure_test_set(config)
    moved = (option.split('=', 1) for option in data_options(argv))
    config.merge_from_dict(dict(moved))
    dataset = config.test_dataloader.dataset
    prefix = dataset.get('data_prefix') or {}
    folder = os.path.join(dataset.get('data_root', ''), prefix.get('img', ''))
    if os.path.isdir(folder):
        print_next('predict.py', *words, folder, argv=argv)


def with_options(argv: list[str], options: list[str]) -> list[str]:
    """Add config options to arguments; options given by the user win."""
    if not options:
        return argv
    if CFG_OPTIONS not in argv:
        return [*argv, CFG_OPTIONS, *options]
    start = argv.index(CFG_OPTIONS) + 1  # of two equal keys the later wins
    return argv[:start] + options + argv[start:]


def runner_options(script: str, argv: list[str]) -> list[str]:
    """Config options of a terminal without MMEngine's report of itself."""
    config = config_of(argv) if script in ('train.py', 'test.py') else None
    if config is None or 'runner_type' in config:
        return []
    return [f'runner_type={QuietRunner.__name__}']


def drawing_options(script: str, argv: list[str]) -> list[str]:
    """Config options of scripts that draw, see
    :func:`.configs.picture_options`."""
    if script not in DRAW or not (config := config_of(argv)):
        return []
    return [f'{key}={value}' for key, value in picture_options(config).items()]


def data_options(argv: list[str]) -> list[str]:
    """Config options that ``data_root=FOLDER`` stands for, if it is given.

    See :func:`.configs.moved_data`.
    """
    roots = [a.split('=', 1)[1] for a in argv if a.startswith('data_root=')]
    if not roots or not (config := config_of(argv)):
        return []
    moved = moved_data(config, roots[-1])
    return [f'{key}={path}' for key, path in moved.items()]


def worker_options(argv: list[str]) -> list[str]:
    """Config options of data loaders that the user gives no workers.

    MMDetection's loaders keep their workers, which PyTorch refuses for none.
    """
    loaders = (
        re.fullmatch(r'(\w+_dataloader)\.num_workers=0', a) for a in argv
    )
    return [f'{m[1]}.persistent_workers=False' for m in loaders if m]


def resume_or_start(argv: list[str]) -> list[str]:
    """Drop --resume from train.py's arguments if there is nothing to resume.

    train.py ignores ``load_from`` with --resume, so a training that must start
    from a checkpoint would start from random weights. Without --resume, say so
    if there is something.
    """
    args, folder = training_of(argv)
    if not args.config or args.resume not in (None, 'auto'):
        return argv
    if last := last_checkpoint(folder):
        if not args.resume and os.environ.get('RANK', '0') == '0':
            print(
                f'train.py: {folder} has {os.path.basename(last)} of an '
                'earlier training; this one starts anew and overwrites it '
                'epoch by epoch, --resume continues it'
            )
        return argv
    if not args.resume:
        return argv
    print(f'train.py: {folder} has no checkpoint to resume; starting anew')
    return [a for a in argv if a != '--resume']


def training_of(argv: list[str]) -> tuple[argparse.Namespace, str]:
    """Some of train.py's arguments, and its work directory ('' without a
    config)."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('config', nargs='?')
    parser.add_argument('--work-dir')
    parser.add_argument('--resume', nargs='?', const='auto')
    args, _ = parser.parse_known_args(argv)
    if not args.config or args.work_dir:
        return args, args.work_dir or ''
    config = Config.fromfile(args.config, import_custom_modules=False)
    default = os.path.join('work_dirs', Path(args.config).stem)
    return args, config.get('work_dir', default)


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
