"""Call the commands' ``main`` here, and check what they say and draw."""

import io
import sys
from contextlib import redirect_stderr
from pathlib import Path
from types import ModuleType

import cv2
import pytest
import torch
from shapes_data.scenes import CLASSES
from torch import nn

# A config option with which commands accept checkpoints of other models
ANY_CHECKPOINT = 'default_hooks.checkpoint_match.refuse=False'


def run_command(tool: ModuleType, *arguments: object) -> None:
    """Call a command's ``main`` with these arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [tool.__file__, *map(str, arguments)])
        tool.main()


def complaint(tool: ModuleType, *arguments: object) -> str:
    """The one sentence that ends a command with these arguments."""
    errors = io.StringIO()
    with pytest.raises(SystemExit) as end, redirect_stderr(errors):
        run_command(tool, *arguments)
    sentence = end.value.code
    if sentence == 2:  # argparse's
        sentence = errors.getvalue().splitlines()[-1]
    name = Path(tool.__file__).name
    assert sentence.startswith(f'{name}: ') and '\n' not in sentence, sentence
    return sentence


def save_checkpoint(model: nn.Module, file: Path) -> Path:
    """Save a model of the shapes' classes; return the file."""
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), file)
    return file


def val_images(shapes: Path) -> list[Path]:
    """The images of the shapes' validation set."""
    return sorted((shapes / 'val2017').glob('*.jpg'))


def is_picture(file: Path, least: int = 300) -> bool:
    """Whether an image has sides of ``least`` pixels and several colours."""
    picture = cv2.imread(str(file))
    return min(picture.shape[:2]) >= least and picture.std() > 10
