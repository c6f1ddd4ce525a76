"""Configs, and the models that they describe."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from mmdet.apis import init_detector
from mmengine.config import Config
from torch import nn

import projects.sprnet  # noqa: F401  makes torch load any of our checkpoints


def load_config(path: Path, options: dict) -> Config:
    """Read a config and apply options; ``data_root`` moves all of its data.

    Raises:
        ValueError: ``data_root`` for a config that has none.
    """
    config = Config.fromfile(path)
    if 'data_root' in options:
        config.merge_from_dict(moved_data(config, options['data_root']))
    config.merge_from_dict(options)
    return config


def moved_data(config: Config, folder: str) -> dict[str, str]:
    """Give the options that move a config's data to another folder.

    A config repeats its ``data_root`` in each data set and metric, where one
    option cannot reach it.

    Returns:
        Dotted keys and new paths, of every path below ``data_root``.

    Raises:
        ValueError: The config has no ``data_root``.
    """
    old, new = config.get('data_root'), os.path.join(folder, '')
    if old is None:
        raise ValueError(
            f'{config.filename} has no data_root; name the options it has'
        )
    return {
        key: new + value[len(old) :]
        for key, value in leaves(config.to_dict())
        if isinstance(value, str) and value.startswith(old)
    }


def leaves(node: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """Walk nested dicts and lists; yield dotted keys and values."""
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, (list, tuple)):
        items = enumerate(node)
    else:
        yield key, node
        return
    for name, value in items:
        yield from leaves(value, f'{key}.{name}' if key else str(name))


def load_model(
    config: Config, checkpoint: Path, device: str | None
) -> nn.Module:
    """Build a detector with its weights, ready to predict.

    Args:
        device: its name; None for the GPU if there is one.
    """
    if device is None:
        device = 'cuda:0' if torch.cuda.is_available() else 'cpu'
    return init_detector(config, str(checkpoint), device=device)
