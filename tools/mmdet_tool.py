"""Run one of MMDetection's own command-line tools on this repository.

    python tools/mmdet_tool.py analysis_tools/get_flops.py CONFIG
    python tools/mmdet_tool.py misc/print_config.py --help

SCRIPT is any of mmdet's, listed in tools/mmdet_tools.md. Those that the mmdet
package brings are run as they are; what is added is what they lack: this
repository's modules on the import path from any working directory, checkpoints
loaded weights-only, ranks and --amp on machines without a GPU, --amp in
testing, one option to move a data set, and a sentence instead of a traceback
for a file that is missing or refused.
"""

import argparse
import os
import pickle
import runpy
import sys
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import mmdet
import torch
from mmengine.config import Config

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(mmdet.__file__).parent / '.mim' / 'tools'
CFG_OPTIONS = '--cfg-options'
AMP = '--amp'


def main(script: str) -> None:
    """Run ``script`` of mmdet's tools with this process's arguments."""
    # In front: another package called `projects` may be installed.
    sys.path.insert(0, str(ROOT))
    # Some scripts load a checkpoint without a config that imports it.
    import projects.sprnet  # noqa: F401

    argv = sys.argv[1:]
    try:
        argv, precision = mixed_precision(script, argv)
        options = moved_data(argv) + cpu_ranks(argv) + precision
        sys.argv[1:] = with_options(argv, options)
        runpy.run_path(str(SCRIPTS / script), run_name='__main__')
    except FileNotFoundError as error:
        sys.exit(
            f'{script}: {error} (data elsewhere? '
            f'{CFG_OPTIONS} data_root=FOLDER)'
        )
    except pickle.UnpicklingError as error:
        sys.exit(refused(script, error))
    except (FloatingPointError, OSError) as error:
        sys.exit(f'{script}: {error}')


def refused(script: str, error: pickle.UnpicklingError) -> str:
    """A sentence for a checkpoint that torch would not load.

    Of torch's page-long message, the line that says what is wrong.
    """
    lines = str(error).splitlines() or ['']
    why = next(
        (line.strip() for line in lines if 'WeightsUnpickler' in line),
        lines[0],
    )
    return (
        f'{script}: the checkpoint was refused, for it holds more than '
        f'weights and a log, or is damaged: {why}'
    )


def with_options(argv: List[str], options: List[str]) -> List[str]:
    """Arguments with more config options, over which the given ones win."""
    if not options:
        return argv
    if CFG_OPTIONS not in argv:
        return argv + [CFG_OPTIONS] + options
    place = argv.index(CFG_OPTIONS) + 1
    return argv[:place] + options + argv[place:]


def moved_data(argv: List[str]) -> List[str]:
    """What ``data_root=FOLDER`` among the config options stands for.

    A config spells its ``data_root`` out in each of its data sets and metrics,
    where mmengine's options no longer find it. Each of those paths is given
    the new root.
    """
    roots = [a.split('=', 1)[1] for a in argv if a.startswith('data_root=')]
    configs = [a for a in argv if a.endswith('.py')]
    if not roots or not configs:
        return []
    config = Config.fromfile(configs[0], import_custom_modules=False)
    new, old = os.path.join(roots[-1], ''), config.get('data_root')
    if old is None:
        sys.exit(f'{configs[0]} has no data_root; name the options it has')
    return [
        f'{key}={new}{value[len(old) :]}'
        for key, value in leaves(config.to_dict())
        if isinstance(value, str) and value.startswith(old)
    ]


def leaves(node: Any, key: str = '') -> Iterator[Tuple[str, Any]]:
    """Dotted keys and values of everything in nested dicts and lists."""
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        yield key, node
        return
    for name, value in items:
        yield from leaves(value, f'{key}.{name}' if key else str(name))


def mixed_precision(
    script: str, argv: List[str]
) -> Tuple[List[str], List[str]]:
    """What --amp stands for where MMDetection's tool cannot do it.

    Returns:
        The arguments that are left, and options.
    """
    if AMP not in argv or (script == 'train.py' and torch.cuda.is_available()):
        return argv, []
    if script == 'train.py':
        options = ['optim_wrapper.type=BFloat16OptimWrapper']
    else:
        options = ['test_cfg.fp16=True']
    return [a for a in argv if a != AMP], options


def cpu_ranks(argv: List[str]) -> List[str]:
    """Start the process group of a launched rank that has no GPU.

    mmengine would pick a GPU for it, and wrap the model for that GPU.

    Returns:
        The options for a wrapper without a device.
    """
    launched = any(a.startswith('--launcher') for a in argv)
    if not launched or torch.cuda.is_available():
        return []
    if 'RANK' not in os.environ:
        sys.exit(
            'no GPU found: without one, ranks are started by '
            'tools/dist_train.sh or tools/dist_test.sh'
        )
    torch.distributed.init_process_group('gloo')
    return [
        'model_wrapper_cfg.type=MMDistributedDataParallel',
        'model_wrapper_cfg.device_ids=None',
        'model_wrapper_cfg.broadcast_buffers=False',
    ]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('script', metavar='SCRIPT')
    parser.add_argument(
        'arguments', nargs=argparse.REMAINDER, help="the script's own"
    )
    args = parser.parse_args()
    if not (SCRIPTS / args.script).is_file():
        parser.error(f'mmdet has no {args.script} in {SCRIPTS}')
    return args


if __name__ == '__main__':
    chosen = parse_args()
    sys.argv = [chosen.script, *chosen.arguments]
    main(chosen.script)
