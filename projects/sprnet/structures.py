"""What passes from one part of the network to the next.

    backbone -> neck -> Features -> box head -> detections -> Instances
      -> encoder -> embeddings (P, D) -> decoder -> masks (P, S, S) -> pasting

Shape letters in this package:

    N  pictures of a batch
    C  channels
    L  locations of a picture's pyramid: the sum of H_l * W_l over the levels l
    A  anchors of a location
    G  ground-truth objects of a picture
    P  instances: objects that get a mask, of all pictures of a batch
    D  length of an embedding
    K  classes
    S  side of a mask, in cells

One index names a location: the levels of a picture are laid end to end, finest
first, each row by row. MMDetection's anchors have the same order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Features(NamedTuple):
    """The feature maps that the heads read."""

    levels: tuple[Tensor, ...]  # (N, C, H_l, W_l) of the pyramid, finest first
    fine: Tensor | None = None  # (N, C', H, W) the backbone's first map


class Instances(NamedTuple):
    """P objects of all pictures whose masks are trained or predicted.

    Encoders read either locations or boxes. What they do not read is None.
    """

    picture: Tensor  # (P,) index in the batch
    box: Tensor | None  # (P, 4) region that the mask fills, in input pixels
    label: Tensor  # (P,) class
    location: Tensor | None  # (P,) place of the pyramid
    target: Tensor | None = None  # (P, S, S) of 0. and 1., in training


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors; a single one is not copied."""
    return torch.cat(list(tensors)) if len(tensors) > 1 else tensors[0]


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the CPU to a device; a GPU does not wait for it.

    Compiled code does wait. Inductor pins the memory of a copy without waiting
    and may write the next tensor there before the copy has run (PyTorch 2.11
    and 2.13). On an H100 the x and y of sample points changed places.
    """
    waits = torch.compiler.is_compiling()
    return tensor.to(device, non_blocking=not waits)


def parts(x: Tensor, at_once: int) -> tuple[Tensor, ...]:
    """Return parts of at most ``at_once`` items; one, empty, of no items.

    An exported graph has one part: its number of items is not known.
    Slices would not do: the gradient of each is a tensor as long as ``x``.
    """
    # torch.compile fails to split no items.
    whole = torch.compiler.is_exporting() or not len(x)
    return (x,) if whole else x.split(at_once)
