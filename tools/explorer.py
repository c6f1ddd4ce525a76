"""A page on this machine that shows what single pixels hold.

    python tools/explorer.py                      # after `make demo`
    python tools/explorer.py CONFIG CHECKPOINT

opens an SPRNet at http://127.0.0.1:7860. Upload an image or pick one: its
boxes, masks and scores. Click any pixel: of every pyramid level the feature
pixel there, its anchors, its best class, the 32x32 mask that it reconstructs,
that mask in its box, and for validation images whether training would call it
positive. Without CONFIG, what `make demo` trained. Needs Gradio; nothing is
fetched from or sent to anywhere else.
"""

import argparse
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Tuple

from demo import CONFIG
from figures import (
    add_cfg_options,
    add_device,
    add_selection,
    existing,
    load_config,
    load_model,
    one_sentence,
    select,
)
from mmdet_tool import ROOT

if TYPE_CHECKING:
    from gradio import Blocks

GRADIO = '6.31.0'  # what it was tried with
DEMO = ROOT / 'work_dirs' / 'demo'
DEMO_DATA = ROOT / 'data' / 'shapes'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config', type=existing, nargs='?', help="(the demo's)"
    )
    parser.add_argument(
        'checkpoint', type=existing, nargs='?', help="(the demo's last one)"
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen at (127.0.0.1: this machine alone)',
    )
    parser.add_argument(
        '--port',
        type=int,
        help='port to listen at (the first free one from 7860 on)',
    )
    add_selection(parser)
    add_device(parser)
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.config and not args.checkpoint:
        parser.error('CONFIG needs a CHECKPOINT')
    return args


def demo() -> Tuple[Path, Path]:
    """Config and checkpoint of `make demo`.

    Raises:
        ValueError: It has not been run.
    """
    last = DEMO / 'last_checkpoint'
    if not last.is_file() or not DEMO_DATA.is_dir():
        raise ValueError(
            'nothing to open: run `make demo` first, or name a CONFIG and a '
            'CHECKPOINT'
        )
    # By its name, as the folder may have been moved since.
    return ROOT / CONFIG, DEMO / Path(last.read_text().strip()).name


def serve(args: argparse.Namespace) -> Tuple['Blocks', str]:
    """The page, which a thread serves, and its address."""
    from explore.actions import Actions
    from explore.page import build_page, launch
    from explore.view import check
    from mmdet.registry import DATASETS

    if not args.config:
        args.config, args.checkpoint = demo()
        args.cfg_options.setdefault('data_root', str(DEMO_DATA))
    config = load_config(args.config, args.cfg_options)
    model = load_model(config, args.checkpoint, args.device)
    check(model)
    try:
        dataset = DATASETS.build(config.val_dataloader.dataset)
        examples = select(dataset, args.image_ids, args.number)
    except FileNotFoundError as error:
        print(f'no validation images to pick: {error}')
        dataset, examples = None, []
    page = build_page(
        Actions(model, dataset, examples),
        f'{args.config.stem}, {os.path.relpath(args.checkpoint)}',
    )
    return page, launch(page, args.host, args.port)


def main() -> None:
    args = parse_args()
    try:
        import gradio  # noqa: F401
    except ImportError:
        sys.exit(
            'explorer.py: the page needs Gradio: '
            f'{sys.executable} -m pip install gradio=={GRADIO}'
        )
    from explore.page import temporary_files

    try:
        # Before anything is loaded, and once: Gradio would try 100 ports.
        socket.create_server((args.host, args.port or 0)).close()
    except (OSError, OverflowError) as error:
        sys.exit(
            f'explorer.py: cannot listen at --host {args.host} --port '
            f'{args.port or "any"}: {error}'
        )
    with temporary_files():
        with one_sentence():
            page, address = serve(args)
        print(f'The page is at {address} (Ctrl-C ends it)', flush=True)
        page.block_thread()


if __name__ == '__main__':
    main()
