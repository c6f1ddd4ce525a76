"""Instances to vectors: the mask head's ``encoder``.

:class:`Encoder` is the interface. The paper's encoders read the pyramid around
a pixel (:class:`PixelEncoder`); :class:`.box_grid.BoxGrid` reads it in a box.
Shape letters: see :mod:`.pyramid`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .options import check, check_list, check_whole
from .pyramid import (
    flatten_pyramid,
    pyramid_sizes,
    window_offsets,
    window_rows,
)

INIT_CFG = dict(type='Kaiming', layer='Conv2d', mode='fan_in')


class Encoder(BaseModule, ABC):
    """Encode each of P instances as a vector.

    Attributes:
        out_channels (int): Length of a vector.
        fine_channels (int): Channels of the backbone's first map, if the
            encoder reads it; otherwise 0.
        reads_pixels (bool): Whether it needs the instances' pixels.
    """

    out_channels: int
    fine_channels: int = 0
    reads_pixels: bool = False

    @abstractmethod
    def forward(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor | None,
        boxes: Tensor,
    ) -> Tensor:
        """Encode instances.

        Args:
            feats: (N, C, H_l, W_l) of each level, finest first; then the
                backbone's first map, if ``fine_channels`` is not 0.
            batch_indices: (P,) image of each instance.
            pixels: (P,) pixel that detected the instance or, in training,
                that the sampler chose. None if ``reads_pixels`` is False.
            boxes: (P, 4) frame that its mask fills, as (x1, y1, x2, y2) in
                pixels of the network's input.

        Returns:
            (P, out_channels).
        """

    def distinct(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor | None,
        boxes: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        """Encode instances that may share vectors.

        Args:
            As for :meth:`forward`.

        Returns:
            Vectors (Q, out_channels), and the vector of each instance (P,), an
            index in 0..Q - 1, or None if each has its own, in order.
        """
        return self(feats, batch_indices, pixels, boxes), None


class PixelEncoder(Encoder):
    """An encoder that reads the pyramid around a pixel, as in the paper.

    It ignores boxes, so the instances of a pixel share its vector.
    """

    reads_pixels = True

    def distinct(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor,
        boxes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`Encoder.distinct`; there is one vector for each pixel."""
        length = sum(height * width for height, width in pyramid_sizes(feats))
        keys, owners = (batch_indices * length + pixels).unique(
            return_inverse=True
        )
        return self(feats, keys // length, keys % length), owners


@MODELS.register_module()
class MultiScaleFusion(PixelEncoder):
    """Multi-scale fusion, section 3.2 and Figure 5, at chosen pixels only.

    Parallel convolutions of different dilation, shared by all levels. Their
    outputs are concatenated, then ReLU. At one pixel a convolution is a matrix
    product with its window, so other pixels cost nothing.

    Args:
        in_channels (int): Channels C of the pyramid.
        channels (Sequence[int]): Output channels of each convolution.
        kernels (Sequence[int]): Kernel size of each, odd.
        dilations (Sequence[int]): Dilation of each. The defaults are those of
            the text; C33-1,2,4,6 of Table 3(a) has four kernels of 3.

    Raises:
        InputError: An option is not a whole number of at least 1, or not a
            list of such numbers, the lists differ in length, or a kernel is
            even.
    """

    def __init__(
        self,
        in_channels: int = 256,
        channels: Sequence[int] = (256, 128, 128, 128),
        kernels: Sequence[int] = (1, 3, 3, 3),
        dilations: Sequence[int] = (1, 2, 4, 6),
        init_cfg: dict = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg)
        self._check_options(in_channels, channels, kernels, dilations)
        self.out_channels = sum(channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, c, k, dilation=d, padding=k // 2 * d)
            for c, k, d in zip(channels, kernels, dilations)
        )
        offsets = map(window_offsets, kernels, dilations)
        self.register_buffer(
            'offsets', torch.cat([*offsets]), persistent=False
        )

    def _check_options(self, in_channels, channels, kernels, dilations):
        check_whole(self, in_channels=in_channels)
        check_list(
            self, channels=channels, kernels=kernels, dilations=dilations
        )
        check(
            self,
            lambda values: len(values) == len(channels),
            f'be as long as channels={channels}',
            kernels=kernels,
            dilations=dilations,
        )
        check(
            self,
            lambda values: all(v % 2 for v in values),
            'be odd, each of them',
            kernels=kernels,
        )

    def forward(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor,
        boxes: Tensor | None = None,
    ) -> Tensor:
        """See :meth:`Encoder.forward`."""
        rows = flatten_pyramid(feats)
        taps = window_rows(
            batch_indices, pixels, pyramid_sizes(feats), self.offsets
        )
        windows = rows.index_select(0, taps.flatten())
        windows = windows.view(-1, len(self.offsets), rows.shape[1])
        windows = windows.split(
            [conv.kernel_size[0] ** 2 for conv in self.convs], 1
        )
        codes = [
            F.linear(
                window.flatten(1),
                conv.weight.permute(0, 2, 3, 1).flatten(1),
                conv.bias,
            )
            for conv, window in zip(self.convs, windows)
        ]
        return torch.cat(codes, dim=1).relu()


@MODELS.register_module()
class ConsecutiveConvs(PixelEncoder):
    """C33x4 of Table 3(a): consecutive 3x3 convolutions, each with ReLU.

    At one pixel, ``num_convs`` of them read a square window of
    2 * num_convs + 1 pixels, which shrinks by one ring a layer.

    Args:
        in_channels (int): Channels C of the pyramid.
        channels (int): Channels of each convolution.
        num_convs (int): Number of convolutions.

    Raises:
        InputError: An option is not a whole number of at least 1.
    """

    def __init__(
        self,
        in_channels: int = 256,
        channels: int = 256,
        num_convs: int = 4,
        init_cfg: dict = INIT_CFG,
    ) -> None:
        super().__init__(init_cfg)
        check_whole(
            self,
            in_channels=in_channels,
            channels=channels,
            num_convs=num_convs,
        )
        self.out_channels = channels
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels if i == 0 else channels, channels, 3)
            for i in range(num_convs)
        )
        offsets = window_offsets(2 * num_convs + 1, 1)
        self.register_buffer('offsets', offsets, persistent=False)

    def forward(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor,
        boxes: Tensor | None = None,
    ) -> Tensor:
        """See :meth:`Encoder.forward`."""
        side = 2 * len(self.convs) + 1
        rows = flatten_pyramid(feats)
        sizes = pyramid_sizes(feats)
        taps = window_rows(batch_indices, pixels, sizes, self.offsets)
        x = rows.index_select(0, taps.flatten())
        x = x.view(-1, side, side, rows.shape[1]).permute(0, 3, 1, 2)
        length = sum(height * width for height, width in sizes)
        inside = taps != batch_indices[:, None] * (length + 1) + length
        inside = inside.view(-1, 1, side, side)
        for conv in self.convs:
            # A dense layer pads its input with zeros. Outside of the level
            # this layer's output would be ReLU of the bias, so it is masked.
            inside = inside[..., 1:-1, 1:-1]
            x = F.relu(conv(x)) * inside
        return x.flatten(1)
