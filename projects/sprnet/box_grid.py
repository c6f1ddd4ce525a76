"""The encoder of boxes. Shape letters: see :mod:`.pyramid`."""

from collections.abc import Sequence
from typing import Any

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from torch import Tensor, nn

from .boxes import grid_points, levels_by_size
from .encoders import Encoder
from .options import check_equal, check_list, check_positive, check_whole
from .pyramid import (
    bilinear_rows,
    flatten_pyramid,
    number_table,
    pyramid_sizes,
    sample_map,
)

NORM_CFG = dict(type='GN', num_groups=8)


@MODELS.register_module()
class BoxGrid(Encoder):
    """Read an instance on a grid of samples that fills its box.

    Beyond the paper. The box is sampled bilinearly on the pyramid level that
    fits its size. This equals RoIAlign, but computes all levels at once and
    does not sort boxes by level, which would make a GPU wait. Details too fine
    for the pyramid are sampled likewise from the backbone's first map and
    added after a 1x1 convolution, as by an FPN's lateral. A few convolutions
    connect the cells of the grid; a linear layer makes them one vector.

    Args:
        in_channels (int): Channels C of the pyramid.
        out_channels (int): Length of a vector.
        grid_size (int): Cells of the grid on each axis.
        samples (int): Samples of a cell on each axis, which are averaged.
        finest_scale (float): Boxes of a side below twice this, in pixels of
            the input, are read on the finest level, and each doubling adds a
            level (``finest_scale`` of mmdet's SingleRoIExtractor).
        fine_channels (int): Channels of the backbone's first map; 0 if it is
            not read.
        fine_stride (int): Stride of that map.
        num_convs (int): Number of 3x3 convolutions over the grid, each with
            normalisation and ReLU.
        conv_channels (int): Channels of these convolutions.
        norm_cfg (dict): Normalisation of these convolutions.
        strides (Sequence[int]): Stride of each level.

    Raises:
        InputError: An option has a wrong type or is too small.
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
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_channels = out_channels
        self.grid_size = grid_size
        self.samples = samples
        self.finest_scale = finest_scale
        self.fine_channels = fine_channels
        self.fine_stride = fine_stride
        self._check_options(in_channels, num_convs, conv_channels, strides)
        self.strides = [(stride, stride) for stride in strides]
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

    def _check_options(
        self,
        in_channels: Any,
        num_convs: Any,
        conv_channels: Any,
        strides: Any,
    ) -> None:
        check_whole(
            self,
            in_channels=in_channels,
            out_channels=self.out_channels,
            grid_size=self.grid_size,
            samples=self.samples,
            conv_channels=conv_channels,
            fine_stride=self.fine_stride,
        )
        check_whole(
            self,
            least=0,
            num_convs=num_convs,
            fine_channels=self.fine_channels,
        )
        check_positive(self, finest_scale=self.finest_scale)
        check_list(self, strides=strides)

    def forward(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor | None,
        boxes: Tensor,
    ) -> Tensor:
        """See :meth:`Encoder.forward`."""
        feats, fine = feats[: len(self.strides)], feats[len(self.strides) :]
        grid = self.read(feats, batch_indices, boxes)
        if self.fine_channels:
            grid = grid + self.lateral(
                self.read_fine(*fine, batch_indices, boxes)
            )
        return self.linear(self.convs(grid).flatten(1)).relu()

    def points(self, boxes: Tensor) -> Tensor:
        """Return the M sample points of boxes (P, 4).

        Returns:
            (P, M, 2) as (x, y), in the boxes' unit.
        """
        return grid_points(boxes, self.grid_size * self.samples)

    def read(
        self, feats: Sequence[Tensor], batch_indices: Tensor, boxes: Tensor
    ) -> Tensor:
        """Sample the pyramid in boxes, each on its own level.

        Args:
            feats: (N, C, H_l, W_l) of each level.
            batch_indices: (P,) image of each box.
            boxes: (P, 4) in pixels of the network's input.

        Returns:
            (P, C, grid_size, grid_size).
        """
        levels = levels_by_size(boxes, self.finest_scale, len(feats))
        strides = number_table(self.strides, boxes)[levels, None]
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
        return self._average_cells(values.transpose(1, 2))

    def read_fine(
        self, fine: Tensor, batch_indices: Tensor, boxes: Tensor
    ) -> Tensor:
        """Sample the backbone's first map (N, C, H, W), like :meth:`read`.

        Raises:
            InputError: The map has other than ``fine_channels`` channels.
        """
        check_equal(
            self,
            fine.shape[1],
            "the channels of the backbone's first map",
            fine_channels=self.fine_channels,
        )
        points = self.points(boxes) / self.fine_stride - 0.5
        return self._average_cells(sample_map(fine, batch_indices, points))

    def _average_cells(self, values: Tensor) -> Tensor:
        """(P, C, M) samples to (P, C, grid_size, grid_size)."""
        cells, samples = self.grid_size, self.samples
        values = values.unflatten(2, (cells, samples, cells, samples))
        return values.mean(dim=(3, 5))
