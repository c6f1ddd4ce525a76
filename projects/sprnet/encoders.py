"""Instances to embeddings: the mask head's ``encoder``.

:class:`Encoder` is the interface. The paper's encoders read the pyramid around
a location (here); :class:`.box_grid.BoxGrid` reads it in a box.
Shape letters: see :mod:`.structures`.
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
from .structures import Features, Instances

INIT_CFG = dict(type='Kaiming', layer='Conv2d', mode='fan_in')


class Encoder(BaseModule, ABC):
    """Embed each of P instances.

    Attributes:
        out_channels (int): Length D of an embedding.
        reads_locations (bool): Whether it reads the instances' locations;
            otherwise it reads their boxes.
        fine_channels (int): Channels of the backbone's first map, if the
            encoder reads it; otherwise 0.
    """

    out_channels: int
    reads_locations: bool
    fine_channels: int = 0

    @abstractmethod
    def forward(self, features: Features, instances: Instances) -> Tensor:
        """Return embeddings (P, D)."""


class LocationEncoder(Encoder):
    """An encoder that reads the pyramid around a location, as in the paper.

    Args:
        offsets (Tensor): (T, 2) of the T places that it reads, see
            :func:`.pyramid.window_offsets`.
    """

    reads_locations = True

    def __init__(self, offsets: Tensor, init_cfg: dict | None) -> None:
        super().__init__(init_cfg)
        self.register_buffer('offsets', offsets, persistent=False)

    def windows(
        self, features: Features, instances: Instances
    ) -> tuple[Tensor, Tensor]:
        """Gather what the instances read.

        Returns:
            (P, T, C), zero outside of the location's level; and (P, T), True
            inside.
        """
        rows = flatten_pyramid(features.levels)
        taps, inside = window_rows(
            instances.picture,
            instances.location,
            pyramid_sizes(features.levels),
            self.offsets,
        )
        windows = rows.index_select(0, taps.flatten())
        windows = windows.view(*taps.shape, rows.shape[1])
        return windows * inside[..., None], inside


@MODELS.register_module()
class MultiScaleFusion(LocationEncoder):
    """Multi-scale fusion, section 3.2 and Figure 5, at chosen locations only.

    Parallel convolutions of different dilation, shared by all levels. Their
    outputs are concatenated, then ReLU. At one location a convolution is a
    matrix product with its window, so other locations cost nothing.

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
        self._check_options(in_channels, channels, kernels, dilations)
        offsets = torch.cat([*map(window_offsets, kernels, dilations)])
        super().__init__(offsets, init_cfg)
        self.out_channels = sum(channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, c, k, dilation=d, padding=k // 2 * d)
            for c, k, d in zip(channels, kernels, dilations)
        )
        # As the rows of a window, so that a product needs no copy of them
        self.convs.to(memory_format=torch.channels_last)

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

    def forward(self, features: Features, instances: Instances) -> Tensor:
        """See :meth:`Encoder.forward`."""
        windows, _ = self.windows(features, instances)
        windows = windows.split(
            [conv.kernel_size[0] ** 2 for conv in self.convs], 1
        )
        outputs = [
            F.linear(
                window.flatten(1),
                conv.weight.permute(0, 2, 3, 1).flatten(1),
                conv.bias,
            )
            for conv, window in zip(self.convs, windows)
        ]
        return torch.cat(outputs, dim=1).relu_()


@MODELS.register_module()
class ConsecutiveConvs(LocationEncoder):
    """C33x4 of Table 3(a): consecutive 3x3 convolutions, each with ReLU.

    At one location, ``num_convs`` of them read a square window of
    2 * num_convs + 1 locations, which shrinks by one ring a layer.

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
        check_whole(
            self,
            in_channels=in_channels,
            channels=channels,
            num_convs=num_convs,
        )
        super().__init__(window_offsets(2 * num_convs + 1, 1), init_cfg)
        self.out_channels = channels
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels if i == 0 else channels, channels, 3)
            for i in range(num_convs)
        )

    def forward(self, features: Features, instances: Instances) -> Tensor:
        """See :meth:`Encoder.forward`."""
        side = 2 * len(self.convs) + 1
        windows, inside = self.windows(features, instances)
        x = windows.transpose(1, 2).unflatten(2, (side, side))
        inside = inside.view(-1, 1, side, side)
        for conv in self.convs:
            # A dense layer pads its input with zeros. Outside of the level
            # this layer's output would be ReLU of the bias, so it is masked.
            inside = inside[..., 1:-1, 1:-1]
            x = F.relu(conv(x)) * inside
        return x.flatten(1)
