"""Compute and draw the scores that a GFPN's gates give an image."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from mmdet.apis import inference_detector
from torch import nn

from projects.sprnet.errors import InputError
from projects.sprnet.gfpn import Gate


class Merge(NamedTuple):
    """The scores of one merge, averaged over channels."""

    level: int  # l of P_l
    own: np.ndarray  # (H_l, W_l), of the level's own map, x1 of eq. 1
    above: np.ndarray  # (H_l, W_l), of the map from above, x2 of eq. 2
    extent: tuple[float, float]  # width and height covered, in image pixels


def find_gates(model: nn.Module) -> list[Gate]:
    """List the gates of a detector.

    Raises:
        InputError: The detector has none.
    """
    gates = [m for m in model.modules() if isinstance(m, Gate)]
    if not gates:
        neck = type(getattr(model, 'neck', None)).__name__
        raise InputError(f'{neck} has no gates; use GFPN as the neck')
    return gates


@contextmanager
def recorded(gates: list[Gate]) -> Iterator[list[np.ndarray]]:
    """Record the scores of one image while the context is open.

    Yields:
        A list that the forward pass fills with scores (H_l, W_l), averaged
        over channels, in the order in which it computes them.
    """
    scores: list[np.ndarray] = []
    handles = [
        gate.sep.register_forward_hook(
            lambda _, __, score, gate=gate: scores.append(
                gate.function(score)[0].mean(0).cpu().numpy()
            )
        )
        for gate in gates
    ]
    try:
        yield scores
    finally:
        for handle in handles:
            handle.remove()


def merges_of(scores: list[np.ndarray], meta: dict) -> list[Merge]:
    """Group the scores of :func:`recorded` by merge, finest level first.

    Args:
        scores: All scores of one forward pass.
        meta: The image's meta information.
    """
    height, width = meta['batch_input_shape']
    scale_x, scale_y = meta['scale_factor']
    # GFPN merges top-down, and gates a level's own map before the one above.
    merges = [
        Merge(
            level=round(np.log2(height / own.shape[0])),
            own=own,
            above=above,
            extent=(width / scale_x, height / scale_y),
        )
        for own, above in zip(scores[::2], scores[1::2])
    ]
    return merges[::-1]


def score_maps(model: nn.Module, image: Path) -> list[Merge]:
    """Compute the scores of all merges for one image, finest level first."""
    with recorded(find_gates(model)) as scores:
        sample = inference_detector(model, str(image))
    return merges_of(scores, sample.metainfo)


def draw(
    image: np.ndarray, merges: list[Merge], limits: tuple[float, float | None]
) -> Figure:
    """Draw the image beside its score maps, one row per merge.

    Args:
        image: (H, W, 3) RGB.
        merges: The image's score maps.
        limits: Ends of the colour bar; None stands for the largest score.
    """
    low, high = limits
    if high is None:
        high = max(max(m.own.max(), m.above.max()) for m in merges)
    height, width = image.shape[:2]
    figure = Figure(
        figsize=(14, len(merges) * (4.2 * height / width + 0.8)),
        layout='constrained',
    )
    axes = figure.subplots(len(merges), 3, squeeze=False)
    for row, merge in zip(axes, merges):
        row[0].imshow(image)
        row[0].set_title('image')
        names = f'x1, from C{merge.level}', 'x2, from the level above'
        for ax, name, scores in zip(row[1:], names, (merge.own, merge.above)):
            colours = _draw_scores(ax, image, scores, merge.extent, low, high)
            ax.set_title(
                f'P{merge.level}: score of {name}\n'
                f'mean {scores.mean():.2f}, {scores.min():.2f} to '
                f'{scores.max():.2f}'
            )
        for ax in row:
            # Cuts off the padding, which the score maps cover too
            ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    bar = figure.colorbar(colours, ax=axes[:, 1:], aspect=40)
    bar.ax.set_facecolor('gray')  # as the image below the score maps
    bar.set_label('score, mean over channels')
    return figure


def _draw_scores(
    ax: Axes,
    image: np.ndarray,
    scores: np.ndarray,
    extent: tuple[float, float],
    low: float,
    high: float,
) -> AxesImage:
    """Draw scores over a grey image; return their colours."""
    # A faint image leaves the colours close to those of the bar.
    ax.imshow(image.mean(axis=2), cmap='gray', vmin=-255, vmax=510)
    right, bottom = extent
    return ax.imshow(
        scores,
        vmin=low,
        vmax=high,
        alpha=0.7,
        extent=(0, right, bottom, 0),
        interpolation='nearest',
    )
