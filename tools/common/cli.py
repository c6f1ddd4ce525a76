"""Arguments of the commands, and one sentence for errors in their input."""

import argparse
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import DictAction

CFG_OPTIONS = '--cfg-options'
# Errors that the input of our own commands causes
INPUT_ERRORS = (ArithmeticError, SyntaxError, ValueError)


def existing(text: str) -> Path:
    """Parse the path of a file or folder that exists."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f'{path} does not exist')
    return path


def at_least_one(text: str) -> int:
    """Parse a count of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is no number above 0')
    return int(text)


def score(text: str) -> float:
    """Parse a score between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is no score in 0..1')
    return value


def device(text: str) -> str:
    """Parse the name of a device that works on this machine."""
    try:
        torch.empty(0, device=text)
    except (AssertionError, RuntimeError) as error:
        why = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(
            f'{text} cannot be used here: {why}'
        ) from error
    return text


def parser_of(doc: str) -> argparse.ArgumentParser:
    """Make a parser whose help text is a command's docstring."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def add_out_dir(parser: argparse.ArgumentParser, default: str) -> None:
    """Add --out-dir."""
    parser.add_argument(
        '--out-dir',
        type=Path,
        default=Path(default),
        help=f'folder for the results ({default})',
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument(
        '--device',
        type=device,
        help='for example cpu or cuda:0 (the GPU if there is one)',
    )


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Add --cfg-options."""
    parser.add_argument(
        CFG_OPTIONS,
        nargs='+',
        action=DictAction,
        default={},
        help='options of the config, as for train.py; data_root=FOLDER moves '
        'all of its data',
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add --image-ids and --number."""
    parser.add_argument(
        '--image-ids',
        type=int,
        nargs='+',
        help='ids of the images in the data set',
    )
    parser.add_argument(
        '--number',
        type=at_least_one,
        default=8,
        help='how many images, from the first one, without --image-ids (8)',
    )


@contextmanager
def one_sentence(
    tool: str | None = None, causes: tuple = INPUT_ERRORS
) -> Iterator[None]:
    """End the program with one sentence if its input is at fault.

    Args:
        tool: name of the command (by default the script's).
        causes: errors to treat so, in addition to those of files.
    """
    tool = tool or Path(sys.argv[0]).name
    try:
        yield
    except FileNotFoundError as error:
        sys.exit(
            f'{tool}: {error} (data elsewhere? {CFG_OPTIONS} data_root=FOLDER)'
        )
    except pickle.UnpicklingError as error:
        sys.exit(refused(tool, error))
    except (OSError, *causes) as error:
        sys.exit(f'{tool}: {error}')


def refused(tool: str, error: pickle.UnpicklingError) -> str:
    """Say why torch did not load a checkpoint.

    torch's message fills a page, of which one line names the cause.
    """
    lines = str(error).splitlines() or ['']
    why = next(
        (line.strip() for line in lines if 'WeightsUnpickler' in line),
        lines[0],
    )
    return (
        f'{tool}: the checkpoint was refused, for it holds more than '
        f'weights and a log, or is damaged: {why}'
    )
