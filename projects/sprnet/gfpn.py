from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from mmcv.cnn import DepthwiseSeparableConvModule
from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from .options import check


class GateFunction(NamedTuple):
    """Turns a score into a gate."""

    function: Callable[[Tensor], Tensor]
    open_score: float  # the score at which the gate lets everything through
    limits: tuple[float, float | None]  # of its values; None: no upper one


# Table 1. We read "R - T" as ReLU of tanh. Sigmoid and tanh reach 1 nowhere:
# at these scores they are 0.9975 and 0.9951, and the gate can still close.
GATE_FUNCTIONS = {
    'sigmoid': GateFunction(torch.sigmoid, 6.0, (0, 1)),
    'tanh': GateFunction(torch.tanh, 3.0, (-1, 1)),
    'square': GateFunction(torch.square, 1.0, (0, None)),
    'relu_tanh': GateFunction(
        lambda score: torch.tanh(score).relu(), 3.0, (0, 1)
    ),
}
GATE_INITS = ('learned', 'open')


class Gate(BaseModule):
    """Let a feature map through by its own score, eq. 1 and 2 of the paper.

    ``x * function(sep(x))``, where ``sep`` is a depthwise 3x3 and a pointwise
    1x1 convolution: one score an element.

    Args:
        channels (int): Channels of the map.
        function (str): A key of ``GATE_FUNCTIONS``.
        init (str): 'learned' for the neck's ``init_cfg``, or 'open' for a gate
            that lets (nearly) everything through at first, so that a GFPN
            starts as the FPN whose weights it loads.
    """

    def __init__(self, channels: int, function: str, init: str) -> None:
        super().__init__()
        self.function, self.open_score, self.limits = GATE_FUNCTIONS[function]
        self.init = init
        self.sep = DepthwiseSeparableConvModule(
            channels, channels, 3, padding=1, act_cfg=None
        )

    def init_weights(self) -> None:
        """Open the gate, if ``init`` says so."""
        super().init_weights()
        if self.init == 'open':
            pointwise = self.sep.pointwise_conv.conv
            nn.init.zeros_(pointwise.weight)
            nn.init.constant_(pointwise.bias, self.open_score)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        gate = self.function(self.sep(x))
        # In place where it can be: fresh memory takes longer than the product.
        return x * gate if gate.requires_grad else gate.mul_(x)


@MODELS.register_module()
class GFPN(FPN):
    """Feature pyramid with gated merges, section 3.1 and Figure 4.

    Where FPN adds the map from above to a level's own, GFPN gates both first
    (eq. 1-3), by one gate that the two share. Everything else is FPN's, names
    of weights included: an FPN's checkpoint loads with only ``gates.*``
    missing.

    Args:
        gate (str): 'sigmoid' (the paper's choice), 'tanh', 'square' or
            'relu_tanh' (Table 1).
        gate_init (str): 'learned' or 'open', see :class:`Gate`.
        share_gate (bool): One gate for all merges instead of one each.
        kwargs: What :class:`mmdet.models.necks.FPN` takes.

    Raises:
        ValueError: A gate or an initialisation of another name, or a
            ``share_gate`` that is neither True nor False.
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
        for option, value, allowed in (
            ('gate', gate, tuple(GATE_FUNCTIONS)),
            ('gate_init', gate_init, GATE_INITS),
        ):
            if value not in allowed:
                raise ValueError(
                    f'{type(self).__name__}: {option}={value!r} is none of '
                    f'{", ".join(map(repr, allowed))}'
                )
        check(
            type(self).__name__,
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
        """Backbone maps (N, C_i, H_i, W_i) to ``num_outs`` pyramid maps of
        ``out_channels`` channels, finest first.

        Raises:
            ValueError: Maps of other channels than ``in_channels``.
        """
        channels = [x.shape[1] for x in inputs]
        check(
            type(self).__name__,
            lambda value: value == channels,
            f"be {channels}, as the backbone's maps",
            in_channels=self.in_channels,
        )
        laterals = [
            conv(x)
            for conv, x in zip(self.lateral_convs, inputs[self.start_level :])
        ]
        for i in range(len(laterals) - 1, 0, -1):
            gate = self.gates[(i - 1) % len(self.gates)]
            above = self._upsample(laterals[i], laterals[i - 1].shape[2:])
            laterals[i - 1] = gate(laterals[i - 1]).add_(gate(above))
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
        """Levels above the backbone's, from where FPN would take them."""
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
    """GFPN with the extra levels of Figure 2's caption.

    The first extra level is the pooling of the last backbone level's output;
    every further one is a 3x3 convolution of stride 2 on the one before. So
    ``add_extra_convs`` decides nothing here.
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
    levels: list[Tensor] = []
    for _ in range(count):
        x = F.max_pool2d(x, 1, stride=2)
        levels.append(x)
    return levels
