from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from torch import Tensor, nn

from .boxes import grid_points, levels_by_size
from .encoders import Encoder
from .options import check, check_number, check_whole, is_whole
from .pyramid import (
    bilinear_rows,
    flatten_pyramid,
    pyramid_sizes,
    sample_map,
)

NORM_CFG = dict(type='GN', num_groups=8)


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
