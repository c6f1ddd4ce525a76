"""Which backbone maps each pyramid level's loss trains, Figure 3."""

import re
from collections.abc import Sequence
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

Curves = dict[tuple[int, int], np.ndarray]  # (3, 4): all norms from P3 in C4
PREFIX = 'train/gradient/'


def by_level(maps: Sequence[Tensor], height: int) -> dict[int, Tensor]:
    """Maps under their level: the first one's is log2 of its stride.

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
    """Gradients of the loss that reach backbone maps through one level.

    What reaches C_k through P_l is the gradient of those terms of the loss
    that the heads compute from P_l, if the heads mix no levels, as those of
    RetinaNet, SPRNet and Mask R-CNN do not.

    Args:
        loss: scalar; its graph is kept.
        maps: C_k as the neck got them, (N, C_k, H_k, W_k), none computed from
            another.
        levels: P_l as the heads got them, likewise.

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

    Figure 3: FPN's gradients from P3 reach C4 as well as C3; a gate is to hold
    them back. The norms are those of the training step itself, of the batch
    (the first rank's) and the sum of losses that it trains on; the step is not
    changed by a bit. Maps of frozen layers are left out.

    They appear in the log (with ``log_processor.num_digits`` decimals), and
    through it in every backend of the visualizer, as ``gradient/P3-C4``, and
    as curves in ``gradient_flow.png`` of the work directory, which is drawn
    after each epoch. A resumed run continues them.

    Args:
        interval (int): Iterations from one measurement to the next.

    Raises:
        ValueError: An interval below 1; at the first measurement, a detector
            without neck or with a frozen backbone.
    """

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(
                f'GradientFlowHook: interval={interval} must be at least 1'
            )
        self.interval = interval
        self.handles: list = []

    def before_train_iter(self, runner: Runner, *args, **kwargs) -> None:
        """Watch this iteration, if it is one to measure."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        if not getattr(model, 'with_neck', False):
            raise ValueError(
                f'GradientFlowHook: {type(model).__name__} has no neck'
            )
        maps: list[Tensor] = []
        levels: list[Tensor] = []

        # Views, because the backbone computes one map from another and a neck
        # may do so with its levels: only what flows through the neck itself,
        # from the heads, meets in them.
        def enter(neck: nn.Module, inputs: tuple) -> tuple:
            """Keep the backbone's maps."""
            maps.extend(x.view_as(x) for x in inputs[0])
            return (tuple(maps),)

        def leave(neck: nn.Module, inputs: tuple, outputs: Sequence) -> tuple:
            """Keep the pyramid's levels."""
            levels.extend(x.view_as(x) for x in outputs)
            return tuple(levels)

        def measure(
            model: nn.Module, args: tuple, data: dict, losses: dict
        ) -> None:
            """Log the norms, once the losses are there."""
            height = data['inputs'].shape[-2]
            trained = {
                k: v
                for k, v in by_level(maps, height).items()
                if v.requires_grad
            }
            if not trained:
                raise ValueError(
                    'GradientFlowHook: the backbone is frozen, so no '
                    'gradients reach it'
                )
            norms = gradient_norms(
                model.parse_losses(losses)[0],
                trained,
                by_level(levels, height),
            )
            for (level, k), norm in norms.items():
                runner.message_hub.update_scalar(
                    f'{PREFIX}P{level}-C{k}', norm
                )

        self.handles = [
            model.neck.register_forward_pre_hook(enter),
            model.neck.register_forward_hook(leave),
            model.register_forward_hook(measure, with_kwargs=True),
        ]

    def after_train_iter(self, *args, **kwargs) -> None:
        """Stop watching."""
        for handle in self.handles:
            handle.remove()
        self.handles = []

    @master_only
    def after_train_epoch(self, runner: Runner) -> None:
        """Draw what was measured so far."""
        curves = measured(runner)
        if curves:
            draw_gradient_flow(
                {runner.experiment_name: curves},
                self.interval,
                Path(runner.work_dir) / 'gradient_flow.png',
            )


def measured(runner: Runner) -> Curves:
    """All that a run's :class:`GradientFlowHook` measured."""
    return {
        tuple(map(int, re.findall(r'\d+', name))): np.array(scalar.data[0])
        for name, scalar in runner.message_hub.log_scalars.items()
        if name.startswith(PREFIX)
    }


def draw_gradient_flow(
    runs: dict[str, Curves], interval: int, path: Path
) -> None:
    """One column a run, one row a level that has a backbone map above its own.

    Args:
        runs: title to curves, of which there is one at least.
        interval: iterations from one point of a curve to the next.
        path: the picture.
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
            reaching = {k: curves[lv, k] for lv, k in curves if lv == level}
            if not reaching:  # a detector whose pyramid starts higher
                ax.axis('off')
                continue
            for k, norms in reaching.items():
                iterations = interval * np.arange(1, len(norms) + 1)
                colour = f'C{k - levels[0]}'  # matplotlib's first, second...
                ax.semilogy(iterations, norms, '.-', c=colour, label=f'C{k}')
            ratio = np.median(reaching[level + 1] / reaching[level])
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
