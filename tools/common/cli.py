"""Command-line arguments, and errors reported in one sentence."""

import argparse
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from mmengine.config import DictAction

CFG_OPTIONS = '--cfg-options'


def existing(text: str) -> Path:
    """Parse the path of an existing file or folder."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f'{path} does not exist')
    return path


def at_least_one(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(
            f'{text} is not a whole number above 0'
        )
    return int(text)


def score(text: str) -> float:
    """Parse a score from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value


def device(text: str) -> str:
    """Parse the name of a device that this machine has."""
    try:
        torch.empty(0, device=text)
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise argparse.ArgumentTypeError(
            f'{text} cannot be used on this machine: {reason}'
        ) from error
    return text


def parser_of(doc: str) -> argparse.ArgumentParser:
    """Make a parser that shows a command's docstring as its help."""
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
        action=OptionAction,
        default={},
        help='override options of the config, as train.py does; '
        'data_root=FOLDER reads all of its data from FOLDER',
    )


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Add --image-ids and --number."""
    parser.add_argument(
        '--image-ids',
        type=int,
        nargs='+',
        help='ids that the data set gives its images',
    )
    parser.add_argument(
        '--number',
        type=at_least_one,
        default=8,
        help='how many images, unless --image-ids names them (8)',
    )


class OptionAction(DictAction):
    """Parse KEY=VALUE options; keep paths as they are.

    mmengine's DictAction removes spaces from a value and splits it at commas.
    """

    paths = {'data_root', 'load_from', 'work_dir'}  # keys of paths

    def __call__(self, parser, namespace, values, option_string=None):
        pairs = [text.partition('=') for text in values]
        for key, equals, _ in pairs:
            if not equals:
                parser.error(f'{option_string}: {key!r} must be KEY=VALUE')
        paths = {key: path for key, _, path in pairs if key in self.paths}
        others = [''.join(pair) for pair in pairs if pair[0] not in paths]
        super().__call__(parser, namespace, others, option_string)
        getattr(namespace, self.dest).update(paths)


@contextmanager
def optional_packages() -> Iterator[list[str]]:
    """Import packages of requirements-tools.txt; collect a missing one."""
    missing: list[str] = []
    try:
        yield missing
    except ModuleNotFoundError as error:
        missing.append(error.name)


def require(missing: list[str]) -> None:
    """End the program if :func:`optional_packages` found one missing."""
    if missing:
        sys.exit(
            f'{Path(sys.argv[0]).name}: not installed: {missing[0]}; '
            'pip install -r requirements-tools.txt'
        )


@contextmanager
def one_sentence(tool: str | None = None) -> Iterator[None]:
    """End the program with one sentence if its input causes an error.

    Other errors are bugs, and keep their traceback.

    Args:
        tool: Name of the command; by default the script's.
    """
    tool = tool or Path(sys.argv[0]).name
    try:
        yield
    except FileNotFoundError as error:
        hint = (
            f'; if the data is in another folder, name it with {CFG_OPTIONS} '
            'data_root=FOLDER'
        )
        # mmengine's error has no filename, but quotes it.
        path = error.filename or ''.join(str(error).split('"')[1:2])
        is_model = Path(path).suffix in ('', '.py', '.pth')
        sys.exit(f'{tool}: {error}{"" if is_model else hint}')
    except pickle.UnpicklingError as error:
        sys.exit(refused(tool, error))
    except (FloatingPointError, OSError, SyntaxError) as error:
        sys.exit(f'{tool}: {error}')
    except ValueError as error:
        # Here, because it loads MMDetection, which some commands do without
        from projects.sprnet.errors import InputError

        if not isinstance(error, InputError):
            raise
        # torch puts a traceback before the message of a worker of a loader.
        sys.exit(f'{tool}: {str(error).rpartition("InputError: ")[2].strip()}')


def refused(tool: str, error: pickle.UnpicklingError) -> str:
    """Explain in one sentence why torch refused a checkpoint.

    torch's message fills a page; one line of it names the cause.
    """
    lines = str(error).splitlines() or ['']
    reason = next(
        (line.strip() for line in lines if 'WeightsUnpickler' in line),
        lines[0],
    )
    return (
        f'{tool}: the checkpoint was refused because it is damaged or holds '
        f'more than weights and a log: {reason}'
    )
