"""Whether a checkpoint belongs to a model: its weights and its classes."""

from collections.abc import Mapping, Sequence

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from ..errors import InputError

SHOWN = 3  # names of weights in a message


def find_mismatch(
    model: nn.Module, checkpoint: Mapping, classes: Sequence[str] | None
) -> str:
    """Say in what a checkpoint differs from a model; '' if in nothing.

    Args:
        model: The model after loading.
        checkpoint: What the file holds.
        classes: Names of the model's classes; None if unknown.
    """
    loaded, own = checkpoint.get('state_dict', checkpoint), model.state_dict()
    # Checkpoints of old versions lack these counters.
    names = {k for k in own if not k.endswith('num_batches_tracked')}
    shared = names & loaded.keys()
    lists = {
        'lacks': names - shared,
        'has besides': loaded.keys() - own.keys(),
        'has in another size': {
            k for k in shared if own[k].shape != loaded[k].shape
        },
    }
    parts = [
        f'{verb} {", ".join(sorted(keys)[:SHOWN])}'
        + (f' and {len(keys) - SHOWN} more' if len(keys) > SHOWN else '')
        for verb, keys in lists.items()
        if keys
    ]
    meta = checkpoint.get('meta', {}).get('dataset_meta') or {}
    trained = meta.get('classes', meta.get('CLASSES'))
    if classes and trained and list(trained) != list(classes):
        parts.append(
            f'was trained for the classes {tuple(trained)}, not '
            f'{tuple(classes)}'
        )
    return '; it '.join(parts)


def check_match(
    model: nn.Module,
    checkpoint: Mapping,
    classes: Sequence[str] | None,
    file: str,
) -> None:
    """Refuse a checkpoint of another model.

    Raises:
        InputError: Names the file and the differences.
    """
    mismatch = find_mismatch(model, checkpoint, classes)
    if mismatch:
        raise InputError(
            f'{file} is not a checkpoint of this config: it {mismatch}. Use '
            'the config that it was trained with, or go on with --cfg-options '
            'default_hooks.checkpoint_match.refuse=False'
        )


@HOOKS.register_module()
class CheckpointMatchHook(Hook):
    """Refuse to test a checkpoint of another model.

    mmengine would test what fits and leave the rest at random. Training may
    start from other checkpoints.

    Args:
        refuse (bool): False tests the checkpoint all the same.

    Raises:
        InputError: At the start of a test; see :func:`check_match`.
    """

    def __init__(self, refuse: bool = True) -> None:
        self.refuse = refuse
        self._checkpoint: Mapping | None = None

    def after_load_checkpoint(
        self, runner: Runner, checkpoint: Mapping
    ) -> None:
        """Keep what was loaded until a test starts."""
        self._checkpoint = checkpoint

    def before_train(self, runner: Runner) -> None:
        """Forget what a training starts from."""
        self._checkpoint = None

    def before_test(self, runner: Runner) -> None:
        """Compare what was loaded with the model."""
        if self._checkpoint is None or not self.refuse:
            return
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        check_match(
            model,
            self._checkpoint,
            runner.test_dataloader.dataset.metainfo.get('classes'),
            str(runner.cfg.get('load_from')),
        )
        self._checkpoint = None
