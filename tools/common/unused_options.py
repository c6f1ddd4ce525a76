"""Refuse options of a config that nothing would read."""

import inspect
from collections.abc import Iterable

from mmengine.config import Config
from mmengine.runner import Runner

from projects.sprnet.errors import InputError

from .cli import CFG_OPTIONS

# What the runner reads without an argument of that name, what MMDetection's
# test.py and this repository's commands read
ALSO_READ = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'data_root',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
}


def refuse_unused(config: Config, options: Iterable[str]) -> None:
    """Refuse options that would change nothing.

    A config hands variables such as ``max_epochs`` on while it is read.
    MMEngine sets options afterwards, and takes any name.

    Args:
        config: Without the options.
        options: Their dotted keys.

    Raises:
        InputError: Names the first such option.
    """
    read = ALSO_READ | set(inspect.signature(Runner).parameters)
    for option in options:
        name = option.partition('.')[0]
        if name in read:
            continue
        if name in config:
            raise InputError(
                f'{CFG_OPTIONS} {option} would change nothing, because '
                f'{config.filename} has handed {name} on already; change it '
                'in the file, or override what it sets, for example '
                'train_cfg.max_epochs'
            )
        raise InputError(
            f'{CFG_OPTIONS} {option} would change nothing, because nothing '
            f'reads {name}; correct the name'
        )
