"""The encoder of boxes. Shape letters: see :mod:`.structures`."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmdet.registry import MODELS
from torch import Tensor, nn

from .encoders import Encoder
from .options import check_equal, check_list, check_whole
from .roi_features import (
    grid_centres,
    points_in_boxes,
    sample_map,
    sample_pyramid,
)
from .structures import Features, Instances

CELLS = 7  # of the grid, on each axis
# Side in pixels of the input up to which a box is read on the finest level;
# each doubling adds a level, as in Mask R-CNN.
FINEST_SIDE = 112
NORM_CFG = dict(type='GN', num_groups=8)


@MODELS.register_module()
class BoxGrid(Encoder):
    """Read an instance on a grid of points that fills its box.

    Beyond the paper. The RoI features of a box are bilinear samples at the
    centres of the grid's cells, on the pyramid level that fits the box's size,
    see :mod:`.roi_features`. Details too fine for the pyramid are sampled
    likewise from the backbone's first map and added after a 1x1 convolution,
    as by an FPN's lateral. A few convolutions connect the cells of the grid; a
    linear layer makes them one embedding.

    Args:
        in_channels (int): Channels C of the pyramid.
        out_channels (int): Length D of an embedding.
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

    reads_locations = False

    def __init__(
        self,
        in_channels: int = 256,
        out_channels: int = 640,
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
        self.linear = nn.Linear(channels[-1] * CELLS**2, out_channels)
        areas = [(FINEST_SIDE * 2**n) ** 2 for n in range(len(strides) - 1)]
        areas = torch.tensor(areas, dtype=torch.float)
        self.register_buffer('areas', areas, persistent=False)
        centres = grid_centres(CELLS)
        self.register_buffer('centres', centres, persistent=False)

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
            conv_channels=conv_channels,
            fine_stride=self.fine_stride,
        )
        check_whole(
            self,
            least=0,
            num_convs=num_convs,
            fine_channels=self.fine_channels,
        )
        check_list(self, strides=strides)

    def forward(self, features: Features, instances: Instances) -> Tensor:
        """See :meth:`.encoders.Encoder.forward`."""
        grid = self.roi_features(features, instances.picture, instances.box)
        return self.linear(self.convs(grid).flatten(1)).relu()

    def roi_features(
        self, features: Features, pictures: Tensor, boxes: Tensor
    ) -> Tensor:
        """Sample the pyramid, and the fine map if it is read, in boxes.

        Args:
            features: See :class:`.structures.Features`.
            pictures: (P,) picture of each box.
            boxes: (P, 4) in pixels of the network's input.

        Returns:
            (P, C, 7, 7).

        Raises:
            InputError: The fine map has other than ``fine_channels`` channels.
        """
        points = points_in_boxes(boxes, self.centres.to(boxes))
        strides = [stride for stride, _ in self.strides]
        area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
        level = torch.bucketize(area, self.areas.to(area), right=True)
        grid = sample_pyramid(
            features.levels, strides, level, pictures, points
        )
        grid = grid.unflatten(2, (CELLS, CELLS))
        if not self.fine_channels:
            return grid
        check_equal(
            self,
            features.fine.shape[1],
            "the channels of the backbone's first map",
            fine_channels=self.fine_channels,
        )
        fine = sample_map(features.fine, self.fine_stride, pictures, points)
        return grid + self.lateral(fine.unflatten(2, (CELLS, CELLS)))
