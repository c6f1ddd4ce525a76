"""Print the command that usually follows."""

import os
import shlex
from collections.abc import Sequence

from .cli import CFG_OPTIONS


def print_next(tool: str, *arguments: object, argv: Sequence[str]) -> None:
    """Print a command of tools/, on the first rank only.

    Args:
        tool: Name of the script.
        arguments: Its arguments.
        argv: Those of the command that ends now; it hands its config options
            on.
    """
    if os.environ.get('RANK', '0') == '0':
        words = ['python', f'tools/{tool}', *map(str, arguments)]
        print(f'\nnext: {shlex.join(words + config_options(argv))}')


def config_options(argv: Sequence[str]) -> list[str]:
    """Cut --cfg-options and its values out of a command's arguments."""
    if CFG_OPTIONS not in argv:
        return []
    words = [CFG_OPTIONS]
    for word in argv[argv.index(CFG_OPTIONS) + 1 :]:
        if word.startswith('--'):
            break
        words.append(word)
    return words
