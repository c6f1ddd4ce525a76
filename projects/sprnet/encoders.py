"""From instances to vectors: the mask head's ``encoder``.

:class:`Encoder` is what every one of them must do. The paper's read a pixel
(:class:`PixelEncoder`), :class:`BoxGrid` reads a box.
"""

from abc import ABC, abstractmethod
from typing import List, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .boxes import grid_points, levels_by_size
from .options import check, check_number, check_whole, is_whole
from .pyramid import (
    bilinear_rows,
    flatten_pyramid,
    pyramid_sizes,
    sample_map,
    window_rows,
)

INIT_CFG = dict(type='Kaiming', layer='Conv2d', mode='fan_in')
NORM_CFG = dict(type='GN', num_groups=8)


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
    ) -> Tuple[Tensor, Tensor]:
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
    ) -> Tuple[Tensor, Tensor]:
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
        codes: List[Tensor] = []
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


@MODELS.register_module()
class BoxGrid(Encoder):
    """Beyond the paper: an instance is read where its box is.

    A grid of bilinear samples fills the box, on the level that fits the box's
    size. It is what RoIAlign computes, but all levels at once and without
    sorting the boxes by level, for which a GPU would have to wait. What is too
    fine for the pyramid is read likewise from the backbone's first map, and
    added after a 1x1 convolution, as by the lateral of an FPN. A few
    convolutions let the cells of the grid see each other; then all of them
    together become one vector.

    Args:
        in_channels (int): Channels of the pyramid.
        out_channels (int): Length of a vector.
        grid_size (int): Cells of the grid on each axis.
        samples (int): Samples of a cell on each axis, which are averaged.
        finest_scale (float): Boxes of a side below twice this, in pixels of
            the input, are read on the finest level, and each doubling is one
            level more (``finest_scale`` of mmdet's SingleRoIExtractor).
        fine_channels (int): Channels of the backbone's first map; with 0 it is
            not read.
        fine_stride (int): Its stride.
        num_convs (int): 3x3 convolutions over the grid, each with
            normalisation and ReLU.
        conv_channels (int): Their channels.
        norm_cfg (dict): Their normalisation.
        strides (Sequence[int]): Strides of the levels.

    Raises:
        ValueError: A number that is not whole or below 1, a ``finest_scale``
            or stride that is not above 0, or strides that are no list.
    """

    def __init__(
        self,
        in_channels: int = 256,
        out_channels: int = 640,
        grid_size: int = 7,
        samples: int = 1,
        finest_scale: float = 56,
        fine_channels: int = 0,
        fine_stride: int = 4,
        num_convs: int = 2,
        conv_channels: int = 64,
        norm_cfg: dict = NORM_CFG,
        strides: Sequence[int] = (8, 16, 32, 64, 128),
        init_cfg: dict = None,
    ) -> None:
        super().__init__(init_cfg)
        name = type(self).__name__
        check_whole(
            name,
            in_channels=in_channels,
            out_channels=out_channels,
            grid_size=grid_size,
            samples=samples,
            conv_channels=conv_channels,
            fine_stride=fine_stride,
        )
        check_whole(
            name, least=0, num_convs=num_convs, fine_channels=fine_channels
        )
        check_number(
            name,
            lambda value: value > 0,
            'be a number above 0',
            finest_scale=finest_scale,
        )
        check(
            name,
            lambda values: (
                isinstance(values, (list, tuple))
                and all(is_whole(v) and v >= 1 for v in values)
            ),
            'be a list of whole numbers of at least 1',
            strides=strides,
        )
        self.out_channels = out_channels
        self.grid_size = grid_size
        self.samples = samples
        self.finest_scale = finest_scale
        self.strides = [(stride, stride) for stride in strides]
        self.fine_channels = fine_channels
        self.fine_stride = fine_stride
        if fine_channels:
            self.lateral = nn.Conv2d(fine_channels, in_channels, 1)
        channels = [in_channels] + num_convs * [conv_channels]
        self.convs = nn.Sequential(
            *(
                ConvModule(*pair, 3, padding=1, norm_cfg=norm_cfg)
                for pair in zip(channels, channels[1:])
            )
        )
        self.linear = nn.Linear(channels[-1] * grid_size**2, out_channels)

    def forward(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor,
        boxes: Tensor,
    ) -> Tensor:
        """As :meth:`Encoder.forward`."""
        feats, fine = feats[: len(self.strides)], feats[len(self.strides) :]
        grid = self.read(feats, batch_indices, boxes)
        if self.fine_channels:
            grid = grid + self.lateral(
                self.read_fine(*fine, batch_indices, boxes)
            )
        return self.linear(self.convs(grid).flatten(1)).relu()

    def points(self, boxes: Tensor) -> Tensor:
        """Where boxes are read, (P, M, 2) as (x, y) in pixels of the input.

        Args:
            boxes: (P, 4).
        """
        return grid_points(boxes, self.grid_size * self.samples)

    def read(
        self, feats: Sequence[Tensor], batch_indices: Tensor, boxes: Tensor
    ) -> Tensor:
        """Read the pyramid in boxes, each on its own level.

        Args:
            feats: (N, C, H_l, W_l) of every level.
            batch_indices: (P,) the image of each box.
            boxes: (P, 4) in pixels of the input.

        Returns:
            (P, C, grid_size, grid_size).
        """
        levels = levels_by_size(boxes, self.finest_scale, len(feats))
        strides = boxes.new_tensor(self.strides)[levels, None]
        rows, weights = bilinear_rows(
            batch_indices,
            levels,
            self.points(boxes) / strides - 0.5,
            pyramid_sizes(feats),
        )
        flat = flatten_pyramid(feats)
        taps = flat.index_select(0, rows.flatten()).unflatten(0, (-1, 4))
        values = weights.flatten(0, 1)[:, None].to(taps) @ taps
        samples = (self.grid_size * self.samples) ** 2
        values = values.view(-1, samples, flat.shape[1])
        return self._cells(values.transpose(1, 2))

    def read_fine(
        self, fine: Tensor, batch_indices: Tensor, boxes: Tensor
    ) -> Tensor:
        """Read the backbone's first map (N, C, H, W) in boxes, otherwise as
        :meth:`read`.

        Raises:
            ValueError: A map of other than ``fine_channels`` channels.
        """
        if fine.shape[1] != self.fine_channels:
            raise ValueError(
                f'{type(self).__name__}: fine_channels={self.fine_channels} '
                f"must be {fine.shape[1]}, as the backbone's first map"
            )
        points = self.points(boxes) / self.fine_stride - 0.5
        return self._cells(sample_map(fine, batch_indices, points))

    def _cells(self, values: Tensor) -> Tensor:
        """(P, C, M) of all samples -> (P, C, grid_size, grid_size)."""
        cells, samples = self.grid_size, self.samples
        values = values.unflatten(2, (cells, samples, cells, samples))
        return values.mean(dim=(3, 5))
