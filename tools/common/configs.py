"""Load configs and the models that they describe."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mmdet.apis import init_detector
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import CheckpointLoader
from torch import nn

# Importing this package also makes torch load checkpoints weights-only.
from projects.sprnet import SPRHead
from projects.sprnet.errors import InputError
from projects.sprnet.runtime.checkpoint_match import check_match
from projects.sprnet.runtime.datasets import inner_datasets

from .unused_options import refuse_unused


def load_config(path: Path, options: dict) -> Config:
    """Load a config and override options of it.

    The option ``data_root`` moves all of the config's data, see
    :func:`moved_data`. MMDetection's own visualizer becomes ours.

    Raises:
        InputError: The config has no ``data_root`` to override, or an option
            would change nothing.
    """
    config = Config.fromfile(path)
    refuse_unused(config, options)
    if 'data_root' in options:
        config.merge_from_dict(moved_data(config, options['data_root']))
    config.merge_from_dict(picture_options(config) | options)
    return config


def picture_options(config: Config) -> dict[str, str]:
    """Options that replace MMDetection's visualizer, whose labels hide small
    objects, by ours."""
    visualizer = config.get('visualizer') or {}
    stock = visualizer.get('type') in ('DetLocalVisualizer', None)
    return {'visualizer.type': 'FolderVisualizer'} if stock else {}


def moved_data(config: Config, folder: str) -> dict[str, str]:
    """Find the options that move a config's data to another folder.

    A config repeats its ``data_root`` in each data set and metric, so one
    option does not reach all of them.

    Returns:
        Dotted keys and new values of all paths below ``data_root``.

    Raises:
        InputError: The config has no ``data_root``.
    """
    old, new = config.get('data_root'), os.path.join(folder, '')
    if old is None:
        raise InputError(
            f'data_root={folder}: {config.filename} has no data_root; '
            'override the paths of its data sets instead'
        )
    return {
        key: new + value[len(old) :]
        for key, value in leaves(config.to_dict())
        if isinstance(value, str) and value.startswith(old)
    }


def leaves(node: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of each leaf of nested containers."""
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        yield key, node
        return
    for name, value in items:
        yield from leaves(value, f'{key}.{name}' if key else str(name))


def ensure_test_set(config: Config) -> None:
    """Give a config one test set, whose pipeline and images commands use.

    Of a wrapper it is the first data set inside; without a test set, it is the
    validation set.

    Raises:
        InputError: There is neither.
    """
    ensure_one_data_set(config, 'test', 'val')


def ensure_validation_set(config: Config) -> None:
    """Give a config one validation set, as :func:`ensure_test_set` does."""
    ensure_one_data_set(config, 'val', 'test')


def ensure_one_data_set(config: Config, name: str, other: str) -> None:
    """Let the loader ``name`` of a config read one data set, its own or that
    of the loader ``other``, whose metrics come along."""
    for source in (name, other):
        loader = config.get(f'{source}_dataloader')
        if loader:
            dataset = next(inner_datasets(loader.dataset))
            config[f'{name}_dataloader'] = dict(loader, dataset=dataset)
            config[f'{name}_evaluator'] = config.get(f'{source}_evaluator')
            return
    raise InputError(
        f'{config.filename} has neither {name}_dataloader nor '
        f'{other}_dataloader, whose pipeline prepares images for the model'
    )


def load_model(
    config: Config, checkpoint: Path, device: str | None
) -> nn.Module:
    """Build a detector and load its weights, ready to predict.

    Args:
        config: Describes the detector.
        checkpoint: File with its weights.
        device: Such as 'cuda:0'; None takes the one that training takes.

    Raises:
        InputError: The checkpoint is not one of this config.
    """
    ensure_test_set(config)
    with kept_checkpoints() as read:
        model = init_detector(
            config, str(checkpoint), device=device or get_device()
        )
    refuse_mismatch(model, config, checkpoint, read[str(checkpoint)])
    return model


@contextmanager
def kept_checkpoints() -> Iterator[dict[str, dict]]:
    """Keep the checkpoints that mmengine reads, so that none is read twice.

    Yields:
        Checkpoints by the names of their files.
    """
    read: dict[str, dict] = {}
    load = CheckpointLoader.load_checkpoint

    def keep(filename: str, *args: Any, **kwargs: Any) -> dict:
        read[filename] = load(filename, *args, **kwargs)
        return read[filename]

    with patch.object(CheckpointLoader, 'load_checkpoint', keep):
        yield read


def refuse_mismatch(
    model: nn.Module, config: Config, checkpoint: Path, loaded: dict
) -> None:
    """Refuse a checkpoint of another config, as CheckpointMatchHook does.

    Args:
        model: Has the weights.
        config: Has gone through :func:`ensure_test_set`.
        checkpoint: The file, for the message.
        loaded: What it holds.

    Raises:
        InputError: Names the file and what differs.
    """
    hook = config.get('default_hooks', {}).get('checkpoint_match') or {}
    if hook.get('refuse', True):
        dataset = config.test_dataloader.dataset
        built = DATASETS.build(dict(dataset, lazy_init=True, pipeline=[]))
        classes = list(built.metainfo['classes'])
        check_match(model, loaded, classes, str(checkpoint))


def find_spr_head(model: nn.Module) -> SPRHead:
    """The mask head of an SPRNet.

    Raises:
        InputError: The detector has none.
    """
    head = getattr(model, 'mask_head', None)
    if not isinstance(head, SPRHead):
        raise InputError(
            f'{type(model).__name__} has no mask head of type SPRHead; use '
            'the config of an SPRNet'
        )
    return head
