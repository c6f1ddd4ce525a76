"""The mask head's network in plain PyTorch, slow and dense.

Each function computes what a fast one of the project computes, from the same
weights.
"""

import math

import torch
import torch.nn.functional as F
from mmcv.ops import roi_align
from torch import Tensor, nn

from projects.sprnet import ConsecutiveConvs, ShortcutPixelDecoder
from projects.sprnet.decoder import NUM_LINEAR
from projects.sprnet.structures import Features, Instances

from .helpers import at_all_locations


def dense_map(encoder: nn.Module, level: Tensor) -> Tensor:
    """The embeddings of all locations of a level, (N, D, H, W)."""
    if isinstance(encoder, ConsecutiveConvs):
        for conv in encoder.convs:
            level = F.conv2d(level, conv.weight, conv.bias, padding=1).relu()
        return level
    return torch.cat([conv(level) for conv in encoder.convs], dim=1).relu()


def level_of(box: list[float]) -> int:
    """The level of five on which BoxGrid reads a box."""
    x1, y1, x2, y2 = box
    side = math.sqrt((x2 - x1) * (y2 - y1))
    return sum(side >= least for least in (112, 224, 448, 896))


def aligned(feat: Tensor, picture: int, box: Tensor, stride: int) -> Tensor:
    """mmcv's RoIAlign of one box with one sample in a cell, (C, 7, 7)."""
    roi = torch.cat([box.new_tensor([picture]), box])[None]
    return roi_align(feat, roi, (7, 7), 1 / stride, 1, 'avg', True)[0]


def grid_embedding(
    encoder: nn.Module, features: Features, picture: int, box: Tensor
) -> Tensor:
    """BoxGrid's embedding (D,) of a box that lies within its picture."""
    level = level_of(box.tolist())
    stride, _ = encoder.strides[level]
    x = aligned(features.levels[level], picture, box, stride)[None]
    if encoder.fine_channels:
        fine = aligned(features.fine, picture, box, encoder.fine_stride)
        x = x + encoder.lateral(fine[None])
    for layer in encoder.convs:
        x = F.conv2d(x, layer.conv.weight, padding=1)
        x = F.group_norm(x, 8, layer.gn.weight, layer.gn.bias).relu()
    return (encoder.linear.bias + encoder.linear.weight @ x.flatten()).relu()


def embeddings_of(
    encoder: nn.Module, features: Features, instances: Instances
) -> Tensor:
    """Embeddings (P, D), from dense maps or box by box."""
    if encoder.reads_locations:
        rows = at_all_locations(
            [dense_map(encoder, level) for level in features.levels]
        ).unflatten(0, (len(features.levels[0]), -1))
        return rows[instances.picture, instances.location]
    places = zip(instances.picture.tolist(), instances.box)
    return torch.stack(
        [grid_embedding(encoder, features, *place) for place in places]
    )


def decode_all_classes(decoder: nn.Module, embeddings: Tensor) -> Tensor:
    """Section 3.2 word for word: (P, D) to (P, K, S, S)."""
    x = embeddings[..., None, None]
    for deconv in decoder.deconvs[:NUM_LINEAR]:
        x = deconv(x)
    shortcut = x
    for deconv in decoder.deconvs[NUM_LINEAR:]:
        x = deconv(x).relu()
    if isinstance(decoder, ShortcutPixelDecoder):
        x = x + F.interpolate(shortcut, size=x.shape[2:], mode='nearest')
    return decoder.classifier(x)


def logits_of(
    head: nn.Module, features: Features, instances: Instances
) -> Tensor:
    """A mask head's logits (P, S, S)."""
    embeddings = embeddings_of(head.encoder, features, instances)
    maps = decode_all_classes(head.decoder, embeddings)
    return maps[range(len(maps)), instances.label]
