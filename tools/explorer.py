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

from common.cli import (
    add_cfg_options,
    add_device,
    add_selection,
    one_sentence,
    parser_of,
)
from common.configs import load_config, load_model
from common.demo_model import add_model, fill_in
from common.images import select
from explore.view import check
from mmdet.registry import DATASETS

try:  # requirements-tools.txt has Gradio
    import gradio as gr
    from explore.actions import Actions
    from explore.page import build_page, launch, temporary_files
except ModuleNotFoundError as error:
    MISSING = error.name
else:
    MISSING = ''


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_model(parser)
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
    return parser.parse_args()


def serve(args: argparse.Namespace) -> tuple['gr.Blocks', str]:
    """The page, which a thread serves, and its address."""
    fill_in(args)
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
    if MISSING:
        sys.exit(
            f'explorer.py: not installed: {MISSING}; '
            'pip install -r requirements-tools.txt'
        )
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
