"""Run one of MMDetection's own command-line tools on this repository.

    python tools/mmdet_tool.py analysis_tools/get_flops.py CONFIG
    python tools/mmdet_tool.py misc/print_config.py --help

SCRIPT is a file below `tools/` of the installed mmdet; tools/mmdet_tools.md
lists them. They run unchanged, with these additions:

- the modules of this repository can be imported from any working directory
- checkpoints are loaded weights-only
- --amp works in testing, and on machines without a GPU
- distributed training and testing work on machines without a GPU
- --cfg-options data_root=FOLDER moves all data of a config
- a missing file or a refused checkpoint ends in one sentence
"""

import argparse
import sys

from common.cli import parser_of
from common.mmdet_scripts import SCRIPTS, run_script


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('script', metavar='SCRIPT')
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, help="SCRIPT's own arguments"
    )
    args = parser.parse_args()
    if not (SCRIPTS / args.script).is_file():
        parser.error(f'mmdet has no {args.script} in {SCRIPTS}')
    return args


def main() -> None:
    args = parse_args()
    sys.argv = [args.script, *args.arguments]
    run_script(args.script)


if __name__ == '__main__':
    main()
