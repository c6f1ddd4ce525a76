"""Write the weights of a checkpoint alone, in half precision, to share them.

    python tools/publish.py CHECKPOINT OUT.pth

OUT has the weights and the names of the classes, but nothing to resume from.
It takes about a sixth of the space. It loads into the same model, which then
computes in single precision as before.
"""

import argparse
from pathlib import Path

from common.cli import existing, one_sentence, parser_of

from mmengine.runner import CheckpointLoader, save_checkpoint

import projects.sprnet  # noqa: F401  loads checkpoints weights-only
from projects.sprnet.errors import InputError


def published(checkpoint: dict) -> dict:
    """The part of a checkpoint that prediction needs, in half precision.

    Raises:
        InputError: It is no checkpoint of a Runner, or a weight is not finite
            in half precision.
    """
    if 'state_dict' not in checkpoint:
        raise InputError('it has no state_dict, so no Runner has written it')
    weights = {}
    for name, value in checkpoint['state_dict'].items():
        half = value.half() if value.is_floating_point() else value
        if not half.isfinite().all():
            raise InputError(f'{name} is not finite in half precision')
        weights[name] = half
    meta = checkpoint.get('meta', {})
    kept = {
        k: meta[k] for k in ('dataset_meta', 'mmengine_version') if k in meta
    }
    return dict(meta=kept, state_dict=weights)


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('checkpoint', type=existing)
    parser.add_argument('out', type=Path)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_sentence():
        checkpoint = CheckpointLoader.load_checkpoint(
            str(args.checkpoint), 'cpu'
        )
        save_checkpoint(published(checkpoint), str(args.out))
    size = args.out.stat().st_size / 2**20
    print(f'wrote {args.out}, {size:.1f} MiB')


if __name__ == '__main__':
    main()
