"""The neck: a feature pyramid with gated merges."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmcv.cnn import DepthwiseSeparableConvModule
from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from .options import check, check_choice, check_equal


class GateFunction(NamedTuple):
    """A function from scores to gates."""

    function: Callable[[Tensor], Tensor]
    open_score: float  # score of an (almost) fully open gate
    limits: tuple[float, float | None]  # range of gates; None: unbounded


# Table 1; we read "R - T" as ReLU of tanh. Sigmoid and tanh never reach 1. At
# these scores they are 0.9975 and 0.9951, where the gate can still close.
GATE_FUNCTIONS = {
    'sigmoid': GateFunction(torch.sigmoid, 6.0, (0, 1)),
    'tanh': GateFunction(torch.tanh, 3.0, (-1, 1)),
    'square': GateFunction(torch.square, 1.0, (0, None)),
    'relu_tanh': GateFunction(
        lambda score: torch.tanh(score).relu(), 3.0, (0, 1)
    ),
}


class Gate(BaseModule):
    """Scale a feature map by a gate of its own, eq. 1 and 2 of the paper.

    The output is ``x * function(sep(x))``. A depthwise 3x3 and a pointwise 1x1
    convolution, ``sep``, give each element of ``x`` a score.

    Args:
        channels (int): Channels C of the map.
        function (str): A key of ``GATE_FUNCTIONS``.
        init (str): 'learned' to initialise as the neck's ``init_cfg`` says, or
            'open' to start (almost) fully open, so that a GFPN with an FPN's
            weights starts as that FPN.
    """

    def __init__(self, channels: int, function: str, init: str) -> None:
        super().__init__()
        self.function, self.open_score, self.limits = GATE_FUNCTIONS[function]
        self.init = init
        self.sep = DepthwiseSeparableConvModule(
            channels, channels, 3, padding=1, act_cfg=None
        )

    def init_weights(self) -> None:
        """Initialise; open the gate if ``init`` is 'open'."""
        super().init_weights()
        if self.init == 'open':
            pointwise = self.sep.pointwise_conv.conv
            nn.init.zeros_(pointwise.weight)
            nn.init.constant_(pointwise.bias, self.open_score)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        gate = self.gate(x)
        # In place where autograd allows it: the allocation costs most.
        return x * gate if gate.requires_grad else gate.mul_(x)

    def gate(self, x: Tensor) -> Tensor:
        """Return the gate of each element, (N, C, H, W) -> (N, C, H, W)."""
        return self.function(self.sep(x))


@MODELS.register_module()
class GFPN(FPN):
    """Feature pyramid with gated merges, section 3.1 and Figure 4.

    FPN adds the map from above to a level's own. GFPN first scales both by a
    gate whose weights they share (eq. 1-3). Everything else is FPN's, even the
    names of weights: an FPN's checkpoint loads with only ``gates.*`` missing.

    Args:
        gate (str): 'sigmoid' (the paper's choice), 'tanh', 'square' or
            'relu_tanh' (Table 1).
        gate_init (str): 'learned' or 'open', see :class:`Gate`.
        share_gate (bool): Use one gate for all merges instead of one each.
        args, kwargs: As for :class:`mmdet.models.necks.FPN`.

    Raises:
        InputError: An option has none of these values.

    Example:
        >>> import torch
        >>> from projects.sprnet import GFPN
        >>> neck = GFPN([2, 3, 5], out_channels=11, num_outs=4)
        >>> maps = [torch.rand(1, c, s, s)
        ...         for c, s in zip([2, 3, 5], [64, 32, 16])]
        >>> for level in neck(maps):
        ...     print(level.shape)
        torch.Size([1, 11, 64, 64])
        torch.Size([1, 11, 32, 32])
        torch.Size([1, 11, 16, 16])
        torch.Size([1, 11, 8, 8])
    """

    def __init__(
        self,
        *args,
        gate: str = 'sigmoid',
        gate_init: str = 'learned',
        share_gate: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        check_choice(self, tuple(GATE_FUNCTIONS), gate=gate)
        check_choice(self, ('learned', 'open'), gate_init=gate_init)
        check(
            self,
            lambda value: isinstance(value, bool),
            'be True or False',
            share_gate=share_gate,
        )
        merges = len(self.lateral_convs) - 1
        self.gates = ModuleList(
            Gate(self.out_channels, gate, gate_init)
            for _ in range(min(merges, 1) if share_gate else merges)
        )

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Make a pyramid.

        Args:
            inputs: Backbone maps (N, C_i, H_i, W_i), finest first.

        Returns:
            ``num_outs`` maps (N, out_channels, H_l, W_l), finest first.

        Raises:
            InputError: The maps' channels are not ``in_channels``.
        """
        check_equal(
            self,
            [x.shape[1] for x in inputs],
            "the channels of the backbone's maps",
            in_channels=self.in_channels,
        )
        laterals = [
            conv(x)
            for conv, x in zip(self.lateral_convs, inputs[self.start_level :])
        ]
        for i in range(len(laterals) - 1, 0, -1):
            gate = self.gates[(i - 1) % len(self.gates)]
            above = self._upsample(laterals[i], laterals[i - 1].shape[2:])
            own = gate(laterals[i - 1])
            laterals[i - 1] = own.addcmul_(gate.gate(above), above)
        outs = [conv(x) for conv, x in zip(self.fpn_convs, laterals)]
        return tuple(outs + self._extra_levels(inputs, laterals, outs))

    def _upsample(self, x: Tensor, size: Sequence[int]) -> Tensor:
        if 'scale_factor' in self.upsample_cfg:
            return F.interpolate(x, **self.upsample_cfg)
        return F.interpolate(x, size=size, **self.upsample_cfg)

    def _extra_levels(
        self,
        inputs: Sequence[Tensor],
        laterals: list[Tensor],
        outs: list[Tensor],
    ) -> list[Tensor]:
        """Levels above the backbone's, from FPN's sources."""
        extra = self.num_outs - len(outs)
        if not self.add_extra_convs:
            return _pooled(outs[-1], extra)
        source = dict(
            on_input=inputs[self.backbone_end_level - 1],
            on_lateral=laterals[-1],
            on_output=outs[-1],
        )[self.add_extra_convs]
        return self._strided(source, self.fpn_convs[len(outs) :])

    def _strided(
        self, source: Tensor, convs: Sequence[nn.Module]
    ) -> list[Tensor]:
        """Apply the convolutions of extra levels one after the other."""
        levels: list[Tensor] = []
        for conv in convs:
            if levels:
                source = levels[-1]
                if self.relu_before_extra_convs:
                    source = F.relu(source)
            levels.append(conv(source))
        return levels


@MODELS.register_module()
class PooledGFPN(GFPN):
    """GFPN with the extra levels that the caption of Figure 2 describes.

    The first extra level pools the last backbone level's output. Each further
    level is a 3x3 convolution of stride 2 on the level before. The option
    ``add_extra_convs`` has no effect.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **{**kwargs, 'add_extra_convs': 'on_output'})
        first_extra = len(self.lateral_convs)
        if self.num_outs > first_extra:
            del self.fpn_convs[first_extra]

    def _extra_levels(
        self,
        inputs: Sequence[Tensor],
        laterals: list[Tensor],
        outs: list[Tensor],
    ) -> list[Tensor]:
        if self.num_outs == len(outs):
            return []
        pooled = _pooled(outs[-1], 1)
        return pooled + self._strided(pooled[-1], self.fpn_convs[len(outs) :])


def _pooled(x: Tensor, count: int) -> list[Tensor]:
    """Pool a map ``count`` times with stride 2, as FPN does."""
    levels: list[Tensor] = []
    for _ in range(count):
        x = F.max_pool2d(x, 1, stride=2)
        levels.append(x)
    return levels
