from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .options import check_whole

PIXELS_AT_ONCE = 128  # bounds the memory of the largest maps
ON_CPU_AT_ONCE = 4  # what the caches of a CPU hold


class Doubling(NamedTuple):
    """A deconvolution of kernel 2 and stride 2, as one matrix product."""

    weight: Tensor  # (4 * C_out, C_in)
    bias: Tensor  # (4 * C_out,)

    @classmethod
    def of(cls, deconv: nn.ConvTranspose2d) -> 'Doubling':
        """That of a layer, whose gradients it passes on."""
        weight = deconv.weight.permute(2, 3, 1, 0).flatten(0, 2)
        return cls(weight, deconv.bias.repeat(4))

    def __call__(self, x: Tensor) -> Tensor:
        """Double the side of maps.

        Args:
            x: (P, M, C_in) M cells in tree order.

        Returns:
            (P, 4 * M, C_out) in tree order: the four children of a cell (upper
            left, upper right, lower left, lower right) follow each other.
        """
        pixels, cells = x.shape[:2]
        x = F.linear(x, self.weight, self.bias)
        return x.view(pixels, 4 * cells, len(self.bias) // 4)


def ranks(owners: Tensor, count: int) -> tuple[Tensor, int]:
    """The place of each thing among those of the same owner.

    Args:
        owners: (n,) in 0..count - 1.

    Returns:
        (n,) from 0, in the order of the things, and how many the owner of
        most has.
    """
    order = owners.argsort(stable=True)
    each = owners.bincount(minlength=count)
    before = each.cumsum(0) - each
    places = torch.empty_like(owners)
    places[order] = (
        torch.arange(len(owners), device=owners.device) - before[owners[order]]
    )
    return places, int(each.max()) if count else 0


def tree_to_grid(x: Tensor, depth: int) -> Tensor:
    """(P, 4 ** depth) in tree order -> (P, 2 ** depth, 2 ** depth)."""
    pixels = x.shape[0]  # len() would be a constant of a traced graph
    x = x.view(pixels, *[2] * (2 * depth))
    rows, columns = range(1, 2 * depth, 2), range(2, 2 * depth + 1, 2)
    return x.permute(0, *rows, *columns).reshape(pixels, 2**depth, 2**depth)


@MODELS.register_module()
class SinglePixelDecoder(BaseModule):
    """Single pixel reconstruction, section 3.2: a vector becomes a mask.

    Deconvolutions double the side, first without activation and then with
    ReLU; a 1x1 convolution to the classes' channels follows, of which only
    the instance's own is computed.

    Args:
        num_classes (int): Classes, K.
        in_channels (int): Channels of a pixel's vector.
        channels (int): Channels of the deconvolutions.
        num_linear (int): Deconvolutions without activation.
        num_relu (int): Deconvolutions with ReLU, after those.
        init_cfg: unused where None; the weights are drawn so that the variance
            of the features is kept.

    Raises:
        ValueError: What is no whole number, or one below its least.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 640,
        channels: int = 256,
        num_linear: int = 3,
        num_relu: int = 2,
        init_cfg: dict = None,
    ) -> None:
        super().__init__(init_cfg)
        name = type(self).__name__
        check_whole(
            name,
            num_classes=num_classes,
            in_channels=in_channels,
            channels=channels,
            num_linear=num_linear,
        )
        check_whole(name, least=0, num_relu=num_relu)
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
        """Side of the masks, in cells."""
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

    def forward(self, codes: Tensor, owners: Tensor, labels: Tensor) -> Tensor:
        """Pixels' vectors to the logits of masks.

        The maps of a pixel are made once, whatever number of masks it has.

        Args:
            codes: (P, in_channels) of the pixels.
            owners: (n,) the pixel of each mask, in 0..P - 1.
            labels: (n,) classes, in 0..num_classes - 1.

        Returns:
            (n, mask_size, mask_size) logits of each label's own channel.
        """
        doublings, small, medium = self._grow(codes)
        slots, count = ranks(owners, len(codes))
        weight = self.classifier.weight.flatten(1)[labels]
        weights = weight.new_zeros(len(codes), count, weight.shape[1])
        weights = weights.index_put((owners, slots), weight).transpose(1, 2)
        at_once = PIXELS_AT_ONCE if codes.is_cuda else ON_CPU_AT_ONCE
        logits = []
        for some in zip(*(x.split(at_once) for x in (small, medium, weights))):
            logits.append(self._last(doublings, *some))
        return self._finish(torch.cat(logits)[owners, :, slots], labels)

    def one_each(self, codes: Tensor, labels: Tensor) -> Tensor:
        """:meth:`forward` of one mask a pixel, all of them at once.

        What is computed is the same whatever the pixels are, so that it can
        be traced into a graph.

        Args:
            codes: (P, in_channels) of the pixels.
            labels: (P,) class of each one's mask.

        Returns:
            (P, mask_size, mask_size) logits.
        """
        weights = self.classifier.weight.flatten(1)[labels][..., None]
        logits = self._last(*self._grow(codes), weights)[..., 0]
        return self._finish(logits, labels)

    def _grow(self, codes: Tensor) -> tuple[list[Doubling], Tensor, Tensor]:
        """All doublings, and pixels' maps before the first with ReLU and
        before the last."""
        doublings = [Doubling.of(deconv) for deconv in self.deconvs]
        small = codes[:, None]
        for doubling in doublings[: self.num_linear]:
            small = doubling(small)
        medium = small
        for doubling in doublings[self.num_linear : -1]:
            medium = doubling(medium).relu_()
        return doublings, small, medium

    def _finish(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits without bias, (n, M) in tree order, to grids with it."""
        logits = logits + self.classifier.bias[labels][:, None]
        return tree_to_grid(logits, len(self.deconvs))

    def _last(
        self,
        doublings: Sequence[Doubling],
        small: Tensor,
        medium: Tensor,
        weights: Tensor,
    ) -> Tensor:
        """The last doubling, if it is one with ReLU, and the classifier."""
        large = medium
        for doubling in doublings[self.num_linear :][-1:]:
            large = doubling(large).relu_()
        return self.classify(small, large, weights)

    def classify(
        self, small: Tensor, large: Tensor, weights: Tensor
    ) -> Tensor:
        """Logits without bias, in tree order.

        Args:
            small: (P, S, C) the map before the first ReLU.
            large: (P, M, C) the last map.
            weights: (P, C, Q) of the classes of each pixel's masks.

        Returns:
            (P, M, Q).
        """
        return torch.bmm(large, weights)


@MODELS.register_module()
class ShortcutPixelDecoder(SinglePixelDecoder):
    """With the shortcut of section 3.2 and Table 3(c), the paper's choice.

    The 8x8 map, enlarged by nearest interpolation, is added before the last
    layer. That layer is linear, so it is applied to the 8x8 map as it is, and
    what is enlarged is one channel.
    """

    def classify(
        self, small: Tensor, large: Tensor, weights: Tensor
    ) -> Tensor:
        """As :meth:`SinglePixelDecoder.classify`, with the shortcut."""
        shortcut = torch.bmm(small, weights)
        # In tree order the cells under one parent stand together.
        shortcut = shortcut.repeat_interleave(4**self.num_relu, dim=1)
        return super().classify(small, large, weights) + shortcut
