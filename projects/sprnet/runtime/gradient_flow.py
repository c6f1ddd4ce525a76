"""Which backbone maps each pyramid level's loss trains (Figure 3).

C_k is the backbone's map of stride 2^k, P_l the pyramid's level of stride 2^l.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mmdet.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from ..errors import InputError

Curves = dict[tuple[int, int], np.ndarray]  # (3, 4): all norms from P3 in C4
PREFIX = 'train/gradient/'


def by_level(maps: Sequence[Tensor], height: int) -> dict[int, Tensor]:
    """Number maps by level, the log2 of their stride.

    Args:
        maps: (N, C_l, H_l, W_l), finest first, each half as high as the one
            before.
        height: of the images, in pixels.
    """
    first = round(np.log2(height / maps[0].shape[-2]))
    return dict(enumerate(maps, start=first))


def gradient_norms(
    loss: Tensor, maps: dict[int, Tensor], levels: dict[int, Tensor]
) -> dict[tuple[int, int], float]:
    """Measure the gradients that reach backbone maps through single levels.

    If the heads mix no levels (those of RetinaNet, SPRNet and Mask R-CNN do
    not), the gradient that reaches C_k through P_l belongs to the terms of
    the loss that the heads compute from P_l.

    Args:
        loss: scalar; its graph is kept.
        maps: C_k (N, C_k, H_k, W_k) as the neck receives them; none may be
            computed from another.
        levels: P_l (N, C, H_l, W_l) as the heads receive them, likewise.

    Returns:
        The L2 norm over the batch for every (l, k) with l <= k.
    """
    shared = [level for level in levels if level in maps]
    arriving = torch.autograd.grad(
        loss,
        [levels[level] for level in shared],
        retain_graph=True,
        materialize_grads=True,
    )
    norms = {}
    for level, gradient in zip(shared, arriving):
        targets = [k for k in maps if k >= level]
        gradients = torch.autograd.grad(
            levels[level],
            [maps[k] for k in targets],
            gradient,
            retain_graph=True,
            materialize_grads=True,
        )
        for k, g in zip(targets, gradients):
            norms[level, k] = float(g.float().norm())
    return norms


@HOOKS.register_module()
class GradientFlowHook(Hook):
    """Log how much of each pyramid level's loss reaches each backbone map.

    In an FPN, gradients from P3 reach C4 as well as C3; gates should hold
    them back (Figure 3). The hook measures in the training step itself, with
    the first rank's batch and the sum of losses, and does not change the step
    by a bit. It leaves out maps of frozen layers. With ``compile=True`` the
    measured iterations run uncompiled.

    The norms appear in the log (with ``log_processor.num_digits`` decimals)
    and in the visualizer's backends as ``gradient/P3-C4``, and as curves in
    ``gradient_flow.png`` in the work directory, drawn after each epoch. A
    resumed run continues the curves.

    Args:
        interval (int): Iterations between two measurements.

    Raises:
        InputError: The interval is below 1; at the first measurement, the
            detector has no neck or a frozen backbone.
    """

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise InputError(
                f'GradientFlowHook: interval={interval} must be at least 1'
            )
        self.interval = interval
        self.handles: list = []
        self.maps: dict[str, tuple[Tensor, ...]] = {}

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Watch the iteration if it is one to measure."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        if not getattr(model, 'with_neck', False):
            raise InputError(
                f'GradientFlowHook: {type(model).__name__} has no neck'
            )
        # Compiled code ignores hooks that are added after its first call.
        torch.compiler.set_stance('force_eager')
        self.handles = [
            model.neck.register_forward_pre_hook(self._keep_inputs),
            model.neck.register_forward_hook(self._keep_outputs),
            model.register_forward_hook(
                partial(self._measure, runner), with_kwargs=True
            ),
        ]

    # Views, because the backbone computes one map from another, and a neck may
    # do so with its levels. Only the gradient that flows from the heads
    # through the neck itself reaches a view.
    def _keep_inputs(self, neck: nn.Module, inputs: tuple) -> tuple:
        self.maps['backbone'] = tuple(x.view_as(x) for x in inputs[0])
        return (self.maps['backbone'],)

    def _keep_outputs(
        self, neck: nn.Module, inputs: tuple, outputs: Sequence[Tensor]
    ) -> tuple:
        self.maps['neck'] = tuple(x.view_as(x) for x in outputs)
        return self.maps['neck']

    def _measure(
        self,
        runner: Runner,
        model: nn.Module,
        args: tuple,
        data: dict,
        losses: dict,
    ) -> None:
        height = data['inputs'].shape[-2]
        maps = by_level(self.maps['backbone'], height)
        trained = {k: x for k, x in maps.items() if x.requires_grad}
        if not trained:
            raise InputError(
                'GradientFlowHook: the backbone is frozen, so no gradients '
                'reach it'
            )
        norms = gradient_norms(
            model.parse_losses(losses)[0],
            trained,
            by_level(self.maps['neck'], height),
        )
        for (level, k), norm in norms.items():
            runner.message_hub.update_scalar(f'{PREFIX}P{level}-C{k}', norm)

    def after_train_iter(self, *args, **kwargs) -> None:
        """Stop watching and free the maps."""
        torch.compiler.set_stance('default')
        for handle in self.handles:
            handle.remove()
        self.handles = []
        self.maps = {}

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        """Draw all measurements so far."""
        curves = logged_curves(runner)
        if curves:
            draw_gradient_flow(
                {runner.experiment_name: curves},
                self.interval,
                Path(runner.work_dir) / 'gradient_flow.png',
            )


def logged_curves(runner: Runner) -> Curves:
    """Return all norms that a run's :class:`GradientFlowHook` has logged."""
    return {
        tuple(map(int, re.findall(r'\d+', name))): np.array(scalar.data[0])
        for name, scalar in runner.message_hub.log_scalars.items()
        if name.startswith(PREFIX)
    }


def draw_gradient_flow(
    runs: dict[str, Curves], interval: int, path: Path
) -> None:
    """Draw one column per run and one row per level.

    Levels without a backbone map above their own have no row.

    Args:
        runs: curves by title; at least one.
        interval: iterations between two points of a curve.
        path: of the picture.
    """
    levels = sorted(
        {level for curves in runs.values() for level, k in curves if k > level}
    )
    figure = Figure(
        figsize=(5 * len(runs) + 1, 3 * len(levels) + 0.5),
        layout='constrained',
    )
    axes = figure.subplots(
        len(levels), len(runs), squeeze=False, sharex=True, sharey='row'
    )
    for row, level in zip(axes, levels):
        row[0].set_ylabel(f'gradient from P{level} (L2 norm)')
        for ax, (title, curves) in zip(row, runs.items()):
            norms = {k: curves[lv, k] for lv, k in curves if lv == level}
            if not norms:  # a detector whose pyramid starts higher
                ax.axis('off')
                continue
            for k, values in norms.items():
                iterations = interval * np.arange(1, len(values) + 1)
                colour = f'C{k - levels[0]}'  # matplotlib's first, second...
                ax.semilogy(iterations, values, '.-', c=colour, label=f'C{k}')
            ratio = np.median(norms[level + 1] / norms[level])
            ax.set_title(
                f'{title}\nP{level}: C{level + 1} gets {ratio:.2f} times '
                f'what C{level} gets (median)',
                fontsize='medium',
            )
            ax.grid(alpha=0.3)
        row[-1].legend(title='into', loc='upper left', bbox_to_anchor=(1, 1))
    for ax in axes[-1]:
        ax.set_xlabel('iteration')
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.savefig(path, dpi=120)
