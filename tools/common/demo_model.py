"""The detector that `make demo` trains: the default of some commands."""

import argparse
from pathlib import Path

from projects.sprnet.errors import InputError

from . import ROOT
from .cli import existing

WORK_DIR = ROOT / 'work_dirs' / 'demo'
DATA = ROOT / 'data' / 'shapes'
CONFIG = (
    'configs/sprnet/efficientnet-lite0/'
    'sprnet_efficientnet-lite0_gfpn_demo_shapes.py'
)
BOX_CONFIG = (
    'configs/sprnet/frozen_detector/'
    'sprnet_efficientnet-lite0_gfpn_plus-box_frozen_demo_shapes.py'
)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add CONFIG and CHECKPOINT, which default to the demo's."""
    parser.add_argument(
        'config', type=existing, nargs='?', help=f'default: {CONFIG}'
    )
    parser.add_argument(
        'checkpoint',
        type=existing,
        nargs='?',
        help='default: the last one in work_dirs/demo',
    )


def default_to_demo(args: argparse.Namespace) -> None:
    """Set config, checkpoint and data to the demo's if CONFIG is missing.

    Raises:
        InputError: There is a CONFIG but no CHECKPOINT, or there is neither
            and `make demo` has not been run.
    """
    if args.config:
        if not args.checkpoint:
            raise InputError('CONFIG needs a CHECKPOINT')
        return
    last = WORK_DIR / 'last_checkpoint'
    if not last.is_file() or not DATA.is_dir():
        raise InputError(
            'no model: run `make demo` first, or name a CONFIG and a '
            'CHECKPOINT'
        )
    args.config = ROOT / CONFIG
    # The name alone: the path is wrong once the folder has been moved.
    args.checkpoint = WORK_DIR / Path(last.read_text().strip()).name
    args.cfg_options.setdefault('data_root', str(DATA))
