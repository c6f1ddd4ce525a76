"""Write the config of a data set of one's own.

    python tools/new_config.py DATA

DATA is a folder with train.json and val.json in COCO's format and the images
that they name, in DATA/train/ and DATA/val/, in DATA/images/ or in DATA. The
command writes configs/DATA.py, which says image size, classes, epochs, batch
and anchors once, at its top, and inherits everything else. It proposes these
values from the sizes of the objects, says why, and prints the next command.
"""

import argparse
from pathlib import Path

from common.cli import at_least_one, existing, one_sentence, parser_of
from common.next_step import print_next

from mmdet.utils import register_all_modules
from own_config.data import DataSet, read_data
from own_config.propose import (
    from_p2,
    propose_anchors,
    propose_detections,
    propose_epochs,
    propose_size,
)
from own_config.text import Choice, config_text, reasons

from projects.sprnet.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
FAMILY = ROOT / 'configs' / 'sprnet' / 'efficientnet-lite0'
ENDING = '_own.py'
MODELS = sorted(
    file.name.removesuffix(ENDING) for file in FAMILY.glob(f'*{ENDING}')
)
DEFAULT = 'sprnet_efficientnet-lite0_gfpn_plus-box'


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('data', type=existing)
    parser.add_argument(
        '--out', type=Path, help='the config to write (configs/DATA.py)'
    )
    parser.add_argument(
        '--model',
        choices=MODELS,
        default=DEFAULT,
        help=f'the detector ({DEFAULT})',
    )
    parser.add_argument(
        '--size', type=at_least_one, help="pixels of the images' longer side"
    )
    parser.add_argument(
        '--batch', type=at_least_one, default=4, help='images a step (4)'
    )
    parser.add_argument('--epochs', type=at_least_one)
    return parser.parse_args()


def choose(args: argparse.Namespace, data: DataSet) -> Choice:
    """Take what was given, and propose the rest."""
    size = args.size or propose_size(data.objects)
    anchors = propose_anchors(data.objects, size)
    if args.model.startswith('mask-rcnn'):
        anchors = from_p2(anchors)
    return Choice(
        size=size,
        batch=args.batch,
        epochs=args.epochs or propose_epochs(data.pictures, args.batch),
        anchors=anchors,
        detections=propose_detections(data.most),
    )


def main() -> None:
    args = parse_args()
    register_all_modules()
    with one_sentence():
        name = args.data.resolve().name
        out = args.out or Path('configs', f'{name}.py')
        if out.exists():
            raise InputError(
                f'{out} exists already; remove it, or name another with --out'
            )
        data = read_data(args.data)
        choice = choose(args, data)
        base = FAMILY / f'{args.model}{ENDING}'
        text = config_text(base, out, data, choice)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
    report(out, data, choice)


def report(out: Path, data: DataSet, choice: Choice) -> None:
    """Print what was proposed, why, and what comes next."""
    print(
        f'{data.root}: {data.pictures} training pictures with '
        f'{len(data.objects.boxes)} objects; classes: '
        f'{", ".join(data.classes)}'
    )
    anchors = choice.anchors
    values = dict(
        size=f'size={choice.size}',
        epochs=f'batch={choice.batch}, epochs={choice.epochs}',
        anchors=f'anchor_base={anchors.base}, strides={anchors.strides}',
        detections=f'detections={choice.detections}',
    )
    why = reasons(data, choice)
    for key, value in values.items():
        reason = why[f'why_{key}'].replace('\n# ', ' ')
        print(f'{value}: {reason}')
    print(f'wrote {out}')
    print_next('check_dataset.py', out, argv=())


if __name__ == '__main__':
    main()
