"""From instances to vectors: the mask head's ``encoder``.

:class:`Encoder` is what every one of them must do. The paper's read a pixel
(:class:`PixelEncoder`), :class:`.box_grid.BoxGrid` reads a box.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .options import check, check_whole, is_whole
from .pyramid import flatten_pyramid, pyramid_sizes, window_rows

INIT_CFG = dict(type='Kaiming', layer='Conv2d', mode='fan_in')


class Encoder(BaseModule, ABC):
    """One vector for each of P instances.

    Attributes:
        out_channels (int): Length of a vector.
        fine_channels (int): Channels of the backbone's first map, if it is to
            follow the pyramid's levels; 0 if the pyramid is enough.
    """

    out_channels: int
    fine_channels: int = 0

    @abstractmethod
    def forward(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor,
        boxes: Tensor,
    ) -> Tensor:
        """Encode instances.

        Args:
            feats: (N, C, H_l, W_l) of every level, finest first; then the
                backbone's first map, if ``fine_channels`` asks for it.
            batch_indices: (P,) the image of each instance.
            pixels: (P,) the pixel of the pyramid that detected it, or that
                trains it, see :mod:`.pyramid`.
            boxes: (P, 4) the frame that its mask fills, as (x1, y1, x2, y2)
                in pixels of the network's input.

        Returns:
            (P, out_channels).
        """

    def distinct(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor,
        boxes: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Vectors without repetition, for instances may share one.

        Args:
            As of :meth:`forward`.

        Returns:
            (Q, out_channels) vectors and (P,) the vector of each instance,
            in 0..Q - 1.
        """
        codes = self(feats, batch_indices, pixels, boxes)
        return codes, torch.arange(len(codes), device=codes.device)


class PixelEncoder(Encoder):
    """An encoder that reads the pyramid around a pixel, as the paper's do.

    Boxes are not looked at, so the instances of one pixel share its vector.
    """

    def distinct(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor,
        boxes: Tensor = None,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`Encoder.distinct`, one vector for each pixel."""
        length = sum(height * width for height, width in pyramid_sizes(feats))
        places, owners = (batch_indices * length + pixels).unique(
            return_inverse=True
        )
        return self(feats, places // length, places % length), owners


@MODELS.register_module()
class MultiScaleFusion(PixelEncoder):
    """Multi-scale fusion, section 3.2 and Figure 5, at chosen pixels only.

    Parallel convolutions of different dilation, shared over the levels, their
    outputs concatenated and rectified. At a pixel a convolution is its window
    of vectors times a matrix, so nothing is computed for the other pixels.

    Args:
        in_channels (int): Channels of the pyramid.
        channels (Sequence[int]): Output channels of each convolution.
        kernels (Sequence[int]): Kernel size of each, odd.
        dilations (Sequence[int]): Dilation of each. The defaults are the
            text's; Table 3(a)'s C33-1,2,4,6 has four kernels of 3.

    Raises:
        ValueError: What is no list, lists of different length, an even kernel,
            or what is no whole number of at least 1.
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
        name = type(self).__name__
        lists = dict(channels=channels, kernels=kernels, dilations=dilations)
        check_whole(name, in_channels=in_channels)
        check(
            name,
            lambda values: isinstance(values, (list, tuple)),
            'be a list',
            **lists,
        )
        if not len(channels) == len(kernels) == len(dilations) > 0:
            raise ValueError(
                f'{name}: channels={channels}, kernels={kernels} '
                f'and dilations={dilations} must be equally many, at least one'
            )
        check(
            name,
            lambda values: all(is_whole(v) and v >= 1 for v in values),
            'all be at least 1 and whole',
            **lists,
        )
        check(
            name,
            lambda values: all(v % 2 for v in values),
            'all be odd',
            kernels=kernels,
        )
        self.out_channels = sum(channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, c, k, dilation=d, padding=k // 2 * d)
            for c, k, d in zip(channels, kernels, dilations)
        )

    def forward(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor,
        boxes: Tensor = None,
    ) -> Tensor:
        """As :meth:`Encoder.forward`."""
        rows = flatten_pyramid(feats)
        codes: list[Tensor] = []
        for conv in self.convs:
            kernel, dilation = conv.kernel_size[0], conv.dilation[0]
            taps = window_rows(
                batch_indices, pixels, pyramid_sizes(feats), kernel, dilation
            )
            window = rows.index_select(0, taps.flatten())
            codes.append(
                F.linear(
                    window.view(-1, kernel**2 * rows.shape[1]),
                    conv.weight.permute(0, 2, 3, 1).flatten(1),
                    conv.bias,
                )
            )
        return torch.cat(codes, dim=1).relu()


@MODELS.register_module()
class ConsecutiveConvs(PixelEncoder):
    """C33x4 of Table 3(a): 3x3 convolutions in a row, each with a ReLU.

    At a pixel, ``num_convs`` of them see a square window of 2 * num_convs + 1
    pixels, which shrinks by one ring a layer.

    Args:
        in_channels (int): Channels of the pyramid.
        channels (int): Channels of each convolution.
        num_convs (int): How many.

    Raises:
        ValueError: What is no whole number of at least 1.
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
            type(self).__name__,
            in_channels=in_channels,
            channels=channels,
            num_convs=num_convs,
        )
        self.out_channels = channels
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels if i == 0 else channels, channels, 3)
            for i in range(num_convs)
        )

    def forward(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor,
        boxes: Tensor = None,
    ) -> Tensor:
        """As :meth:`Encoder.forward`."""
        side = 2 * len(self.convs) + 1
        rows = flatten_pyramid(feats)
        sizes = pyramid_sizes(feats)
        taps = window_rows(batch_indices, pixels, sizes, side, 1)
        x = rows.index_select(0, taps.flatten())
        x = x.view(-1, side, side, rows.shape[1]).permute(0, 3, 1, 2)
        length = sum(height * width for height, width in sizes)
        inside = taps != batch_indices[:, None] * (length + 1) + length
        inside = inside.view(-1, 1, side, side)
        for conv in self.convs:
            # What a dense layer pads with zeros is no output of the layer
            # before, so it must be zero here, not ReLU of the bias.
            inside = inside[..., 1:-1, 1:-1]
            x = F.relu(conv(x)) * inside
        return x.flatten(1)
