"""Vectors to masks: the mask head's ``decoder``.

Maps are in tree order, not in rows: the four children of a cell (upper left,
upper right, lower left, lower right) follow each other. A deconvolution of
kernel 2 and stride 2 is then a plain matrix product.
Shape letters: see :mod:`.pyramid`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .chunks import parts
from .options import check_whole

PIXELS_AT_ONCE = 512  # bounds the memory of the largest maps
ON_CPU_AT_ONCE = 4  # keeps them in a CPU's caches


class Doubling(NamedTuple):
    """A deconvolution of kernel 2 and stride 2, as one matrix product."""

    weight: Tensor  # (4 * C_out, C_in)
    bias: Tensor  # (4 * C_out,)

    @classmethod
    def of(cls, deconv: nn.ConvTranspose2d) -> 'Doubling':
        """Take the weights of a layer; gradients flow back to it."""
        weight = deconv.weight.permute(2, 3, 1, 0).flatten(0, 2)
        return cls(weight, deconv.bias.repeat(4))

    def __call__(self, x: Tensor) -> Tensor:
        """Double the side of maps.

        Args:
            x: (Q, M, C_in) M cells in tree order.

        Returns:
            (Q, 4 * M, C_out) in tree order.
        """
        count, cells = x.shape[:2]
        x = F.linear(x, self.weight, self.bias)
        return x.view(count, 4 * cells, len(self.bias) // 4)


def index_within_group(owners: Tensor) -> tuple[Tensor, int]:
    """Number the items of each group.

    Args:
        owners: (n,) group of each item.

    Returns:
        Index (n,) of each item within its group, in the order of the items,
        and the size of the largest group.
    """
    order = owners.argsort(stable=True)
    ordered = owners[order]
    firsts = torch.searchsorted(ordered, ordered)
    index = torch.arange(len(owners), device=owners.device) - firsts
    largest = int(index.max()) + 1 if len(owners) else 0
    return torch.empty_like(owners).scatter_(0, order, index), largest


def tree_to_grid(x: Tensor, depth: int) -> Tensor:
    """(n, 4 ** depth) in tree order to (n, 2 ** depth, 2 ** depth)."""
    count = x.shape[0]  # len() would be a constant of a traced graph
    x = x.view(count, *[2] * (2 * depth))
    rows, columns = range(1, 2 * depth, 2), range(2, 2 * depth + 1, 2)
    return x.permute(0, *rows, *columns).reshape(count, 2**depth, 2**depth)


@MODELS.register_module()
class SinglePixelDecoder(BaseModule):
    """Single pixel reconstruction, section 3.2: a vector becomes a mask.

    Deconvolutions double the side of the map, first without activation, then
    with ReLU. A 1x1 convolution makes a channel of logits for each class.

    Example: the network in plain PyTorch, with the default options.

        >>> linear = nn.Sequential(
        ...     nn.ConvTranspose2d(640, 256, 2, stride=2),
        ...     nn.ConvTranspose2d(256, 256, 2, stride=2),
        ...     nn.ConvTranspose2d(256, 256, 2, stride=2))
        >>> relu = nn.Sequential(
        ...     nn.ConvTranspose2d(256, 256, 2, stride=2), nn.ReLU(),
        ...     nn.ConvTranspose2d(256, 256, 2, stride=2), nn.ReLU())
        >>> classifier = nn.Conv2d(256, num_classes, 1)
        >>> small = linear(codes[:, :, None, None])  # (Q, 256, 8, 8)
        >>> large = relu(small)  # (Q, 256, 32, 32)
        >>> if shortcut:  # ShortcutPixelDecoder: the coarse map is added
        ...     large = large + F.interpolate(small, scale_factor=4)
        >>> logits = classifier(large)[owners, labels]  # (P, 32, 32)

    This class has the same weights and outputs. But it computes only the
    channel of each instance's class, and the largest maps in parts.

    Args:
        num_classes (int): Number K of classes.
        in_channels (int): Length of a vector.
        channels (int): Channels C of the deconvolutions.
        num_linear (int): Number of deconvolutions without activation.
        num_relu (int): Number of deconvolutions with ReLU, after those.
        init_cfg (dict): As for mmengine's BaseModule; :meth:`init_weights`
            draws all weights after it.

    Raises:
        InputError: An option is not a whole number or too small.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 640,
        channels: int = 256,
        num_linear: int = 3,
        num_relu: int = 2,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_whole(
            self,
            num_classes=num_classes,
            in_channels=in_channels,
            channels=channels,
            num_linear=num_linear,
        )
        check_whole(self, least=0, num_relu=num_relu)
        self.num_linear = num_linear
        self.num_relu = num_relu
        self.deconvs = nn.ModuleList(
            nn.ConvTranspose2d(
                in_channels if i == 0 else channels, channels, 2, stride=2
            )
            for i in range(num_linear + num_relu)
        )
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    @property
    def mask_size(self) -> int:
        """Side S of the masks, in cells."""
        return 2 ** len(self.deconvs)

    def init_weights(self) -> None:
        """Draw weights that keep the variance of the features."""
        super().init_weights()
        # PyTorch's default loses two orders of magnitude over five layers.
        # Windows do not overlap, so a cell's fan-in is C_in alone.
        for i, deconv in enumerate(self.deconvs):
            gain = 1 if i < self.num_linear else 2
            nn.init.normal_(
                deconv.weight, std=(gain / deconv.in_channels) ** 0.5
            )
            nn.init.zeros_(deconv.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(
        self, codes: Tensor, owners: Tensor | None, labels: Tensor
    ) -> Tensor:
        """Decode instances that may share vectors.

        Args:
            codes: (Q, in_channels) vectors.
            owners: (P,) vector of each mask, in 0..Q - 1; None if each has
                its own, in order.
            labels: (P,) classes, in 0..K - 1.

        Returns:
            (P, S, S) logits of each label's own channel.
        """
        doublings, small, medium = self._grow(codes)
        weights = self.classifier.weight.flatten(1)[labels][..., None]
        if owners is not None:
            slots, count = index_within_group(owners)
            empty = weights.new_zeros(len(codes), count, weights.shape[1])
            weights = empty.index_put((owners, slots), weights[..., 0])
            weights = weights.transpose(1, 2)
        on_cpu = codes.device.type == 'cpu'
        at_once = ON_CPU_AT_ONCE if on_cpu else PIXELS_AT_ONCE
        maps = (parts(x, at_once) for x in (small, medium, weights))
        logits = torch.cat(
            [self._classify_last(doublings, *part) for part in zip(*maps)]
        )
        if owners is None:
            return self._to_grid(logits[..., 0], labels)
        return self._to_grid(logits[owners, :, slots], labels)

    def one_each(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Decode one mask of each vector, all of them at once.

        The operations do not depend on the data, so they can be traced.

        Args:
            codes: (P, in_channels).
            labels: (P,) class of each mask.

        Returns:
            (P, S, S) logits.
        """
        weights = self.classifier.weight.flatten(1)[labels][..., None]
        logits = self._classify_last(*self._grow(codes), weights)[..., 0]
        return self._to_grid(logits, labels)

    def _grow(self, codes: Tensor) -> tuple[list[Doubling], Tensor, Tensor]:
        """Return all doublings, the map before the first ReLU, and the map
        before the last doubling that has one."""
        doublings = [Doubling.of(deconv) for deconv in self.deconvs]
        small = codes[:, None]
        for doubling in doublings[: self.num_linear]:
            small = doubling(small)
        medium = small
        for doubling in doublings[self.num_linear : -1]:
            medium = doubling(medium).relu_()
        return doublings, small, medium

    def _classify_last(
        self,
        doublings: Sequence[Doubling],
        small: Tensor,
        medium: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """Apply the last doubling, if it has ReLU, and the classifier."""
        large = medium
        for doubling in doublings[self.num_linear :][-1:]:
            large = doubling(large).relu_()
        return self.classify(small, large, weights)

    def _to_grid(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Add the bias to logits (P, S * S) in tree order, and order them."""
        logits = logits + self.classifier.bias[labels][:, None]
        return tree_to_grid(logits, len(self.deconvs))

    def classify(
        self, small: Tensor, large: Tensor, weights: Tensor
    ) -> Tensor:
        """Return logits without bias, in tree order.

        Args:
            small: (Q, s * s, C) map before the first ReLU.
            large: (Q, S * S, C) last map.
            weights: (Q, C, M) class weights of the M masks of each vector.

        Returns:
            (Q, S * S, M).
        """
        return torch.bmm(large, weights)


@MODELS.register_module()
class ShortcutPixelDecoder(SinglePixelDecoder):
    """With the shortcut of section 3.2 and Table 3(c), the paper's choice.

    The map before the first ReLU (8x8), enlarged by nearest interpolation, is
    added before the classifier. The classifier is linear, so it is applied to
    the small map, and only its one channel is enlarged.
    """

    def classify(
        self, small: Tensor, large: Tensor, weights: Tensor
    ) -> Tensor:
        """See :meth:`SinglePixelDecoder.classify`; adds the shortcut."""
        shortcut = torch.bmm(small, weights)
        # In tree order the cells below one coarse cell follow each other.
        shortcut = shortcut.repeat_interleave(4**self.num_relu, dim=1)
        return super().classify(small, large, weights) + shortcut
