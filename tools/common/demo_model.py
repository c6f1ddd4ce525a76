"""What `make demo` trained, for tools that show it unless told otherwise."""

import argparse
from pathlib import Path

from . import ROOT
from .cli import existing

WORK_DIR = ROOT / 'work_dirs' / 'demo'
DATA = ROOT / 'data' / 'shapes'
CONFIG = 'configs/sprnet/sprnet_r18_gfpn_demo_shapes.py'
BOX_CONFIG = (
    'configs/sprnet/frozen_detector/sprnet_r18_gfpn_plus-box_frozen_shapes.py'
)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Arguments for a config and a checkpoint, which may be left out."""
    parser.add_argument('config', type=existing, nargs='?', help=f'({CONFIG})')
    parser.add_argument(
        'checkpoint',
        type=existing,
        nargs='?',
        help="(the demo's last one, of work_dirs/demo)",
    )


def fill_in(args: argparse.Namespace) -> None:
    """Let arguments without a config be of what `make demo` made.

    Raises:
        ValueError: It has not been run, or a config is without a checkpoint.
    """
    if args.config:
        if not args.checkpoint:
            raise ValueError('CONFIG needs a CHECKPOINT')
        return
    last = WORK_DIR / 'last_checkpoint'
    if not last.is_file() or not DATA.is_dir():
        raise ValueError(
            'no model: run `make demo` first, or name a CONFIG and a '
            'CHECKPOINT'
        )
    args.config = ROOT / CONFIG
    # By its name, as the folder may have been moved since.
    args.checkpoint = WORK_DIR / Path(last.read_text().strip()).name
    args.cfg_options.setdefault('data_root', str(DATA))
