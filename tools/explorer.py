"""Show what single locations of the feature pyramid predict, on a web page.

    python tools/explorer.py                      # after `make demo`
    python tools/explorer.py CONFIG CHECKPOINT

Serve an SPRNet at http://127.0.0.1:7860, by default the one that `make demo`
trained. Upload an image or pick one to see its boxes, masks and scores. Click
anywhere to see the location of each pyramid level there: its anchors, its best
class, the 32x32 mask that it reconstructs, that mask in its box, and for
validation images whether it would be a positive location in training. The
command needs Gradio. It exchanges no data with other machines.
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
    optional_packages,
    parser_of,
    require,
)
from common.configs import ensure_validation_set, load_config, load_model
from common.demo_model import add_model_arguments, default_to_demo
from common.images import select

from explore.view import check_supported
from mmdet.registry import DATASETS

with optional_packages() as MISSING:
    import gradio as gr
    from explore.actions import Actions
    from explore.page import build_page, launch, temporary_files


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_model_arguments(parser)
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen at (default: 127.0.0.1, this machine only)',
    )
    parser.add_argument(
        '--port',
        type=int,
        help='port to listen at (default: the first free one from 7860 on)',
    )
    add_selection(parser)
    add_device(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def serve(args: argparse.Namespace) -> tuple['gr.Blocks', str]:
    """Serve the page from a thread; return the page and its address."""
    default_to_demo(args)
    config = load_config(args.config, args.cfg_options)
    ensure_validation_set(config)
    model = load_model(config, args.checkpoint, args.device)
    check_supported(model)
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
    require(MISSING)
    try:
        # Fail before the model is loaded; Gradio would try 100 ports.
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
