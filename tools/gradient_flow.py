"""Figure 3: which backbone maps the loss of each pyramid level trains.

    python tools/gradient_flow.py FPN_CONFIG GFPN_CONFIG --iters 500

trains each config for --iters iterations with a GradientFlowHook, and draws
the curves side by side to OUT_DIR/gradient_flow.png. The log and the picture
of each run are in OUT_DIR/CONFIG/. No checkpoint is kept.
"""

import argparse

from common.cli import (
    add_cfg_options,
    add_out_dir,
    at_least_one,
    existing,
    one_sentence,
    parser_of,
)
from common.configs import load_config

from mmengine.config import Config
from mmengine.runner import Runner

from projects.sprnet.runtime.gradient_flow import (
    draw_gradient_flow,
    logged_curves,
)


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_out_dir(parser, 'work_dirs/gradient_flow')
    parser.add_argument('configs', type=existing, nargs='+', metavar='CONFIG')
    parser.add_argument(
        '--iters', type=at_least_one, default=500, help='iterations (500)'
    )
    parser.add_argument(
        '--interval',
        type=at_least_one,
        default=10,
        help='iterations from one measurement to the next (10)',
    )
    add_cfg_options(parser)
    args = parser.parse_args()
    if args.interval > args.iters:
        parser.error(
            f'--interval {args.interval} must not exceed --iters {args.iters}'
        )
    names = [path.stem for path in args.configs]
    for name in names:
        if names.count(name) > 1:
            parser.error(
                f'two configs are named {name} and would share one folder; '
                'rename one'
            )
    return args


def shortened(config: Config, args: argparse.Namespace, name: str) -> Config:
    """Make a config train for ``--iters`` iterations and measure them."""
    config.work_dir = str(args.out_dir / name)
    # mmengine would reuse the visualizer of the run before.
    config.visualizer.name = name
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=args.iters)
    for split in ('val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            config[f'{split}_{part}'] = None
    config.log_processor.update(by_epoch=False, num_digits=6)
    config.default_hooks.logger.interval = args.interval
    config.default_hooks.checkpoint = None
    config.default_hooks.gradient_flow = dict(
        type='GradientFlowHook', interval=args.interval
    )
    return config


def main() -> None:
    args = parse_args()
    curves = {}
    with one_sentence():
        for path in args.configs:
            config = load_config(path, args.cfg_options)
            runner = Runner.from_cfg(shortened(config, args, path.stem))
            runner.train()
            curves[path.stem] = logged_curves(runner)
    picture = args.out_dir / 'gradient_flow.png'
    draw_gradient_flow(curves, args.interval, picture)
    print(f'drawn to {picture}')


if __name__ == '__main__':
    main()
