"""The scores that a GFPN's gates give an image, and pictures of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from mmdet.apis import inference_detector
from torch import nn

from projects.sprnet.gfpn import Gate


class Merge(NamedTuple):
    """The scores of one merge, their mean over channels."""

    level: int  # l of P_l
    own: np.ndarray  # (H_l, W_l), of the level's own map, x1
    above: np.ndarray  # (H_l, W_l), of the map from above, x2
    extent: tuple[float, float]  # width and height covered, in image pixels


def find_gates(model: nn.Module) -> list[Gate]:
    """A detector's gates.

    Raises:
        ValueError: It has none.
    """
    neck = getattr(model, 'neck', None)
    gates = [m for m in model.modules() if isinstance(m, Gate)]
    if not gates:
        raise ValueError(f'{type(neck).__name__} has no gates; GFPN does')
    return gates


@contextmanager
def recorded(gates: list[Gate]) -> Iterator[list[np.ndarray]]:
    """The scores that gates give one image, each (H_l, W_l), in the order in
    which the forward pass in this context computes them."""
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
    """:func:`recorded` scores by merge, the finest first.

    Args:
        scores: of the whole forward pass.
        meta: the image's meta information.
    """
    # Top-down, each merge's own map before the one from above.
    height, width = meta['batch_input_shape']
    scale_x, scale_y = meta['scale_factor']
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
    """The scores of all merges of one image, the finest first."""
    with recorded(find_gates(model)) as scores:
        sample = inference_detector(model, str(image))
    return merges_of(scores, sample.metainfo)


def draw(
    image: np.ndarray, merges: list[Merge], limits: tuple[float, float | None]
) -> Figure:
    """The image beside its score maps, one row a merge.

    Args:
        image: (H, W, 3) RGB.
        merges: their score maps.
        limits: ends of the colour bar; None for the largest score.
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
            right, bottom = merge.extent
            # Faint, so that the colours stay those of the bar.
            ax.imshow(image.mean(axis=2), cmap='gray', vmin=-255, vmax=510)
            drawn = ax.imshow(
                scores,
                vmin=low,
                vmax=high,
                alpha=0.7,
                extent=(0, right, bottom, 0),
                interpolation='nearest',
            )
            ax.set_title(
                f'P{merge.level}: score of {name}\n'
                f'mean {scores.mean():.2f}, {scores.min():.2f} to '
                f'{scores.max():.2f}'
            )
        for ax in row:
            # The maps also cover what the image was padded with.
            ax.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    bar = figure.colorbar(drawn, ax=axes[:, 1:], aspect=40)
    bar.ax.set_facecolor('gray')  # what the maps are drawn on
    bar.set_label('score, mean over channels')
    return figure
