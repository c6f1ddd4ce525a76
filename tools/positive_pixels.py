"""Figure 6: the pixels that train the mask branch, with their anchors.

    python tools/positive_pixels.py CONFIG

draws images of the config's training data, as its pipeline gives them to the
model, into OUT_DIR/IMAGE_ID.png: ground-truth boxes in green, dashed where no
pixel learns the object; positive pixels as red dots, and of each object the
anchor that overlaps it most; some negative pixels as blue dots, whose best
anchor, also drawn, has an IoU below 0.4 with any object. No checkpoint is
needed.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import mmcv
import numpy as np
import torch
from common.cli import (
    add_cfg_options,
    add_out_dir,
    add_selection,
    at_least_one,
    existing,
    one_sentence,
    parser_of,
)
from common.configs import load_config
from common.images import select
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmdet.visualization import DetLocalVisualizer
from mmengine.dataset import pseudo_collate
from mmengine.runner import set_random_seed

from projects.sprnet import OverlapPixelSampler, SPRHead
from projects.sprnet.pixels import assign_pixels
from projects.sprnet.pyramid import locate

MARKERS = 'os^D*Pv'  # of the levels, finest first
NEGATIVE = 0.4  # IoU below which an anchor is negative, section 3.3
LONG_SIDE = 1200  # of the picture, so that dots are small beside objects


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_out_dir(parser, 'positive_pixels')
    parser.add_argument('config', type=existing)
    add_selection(parser)
    parser.add_argument(
        '--negatives',
        type=at_least_one,
        default=5,
        help='draw so many negative pixels (5)',
    )
    add_cfg_options(parser)
    return parser.parse_args()


class Pixels(NamedTuple):
    """Some pixels of an image's pyramid."""

    indices: np.ndarray  # (P,) see projects/sprnet/pyramid.py
    levels: np.ndarray  # (P,) index of the level
    anchors: np.ndarray  # (P, 4) the best anchor of each
    overlaps: np.ndarray  # (P,) the IoU of that anchor with its object
    objects: np.ndarray  # (P,) index of the object it overlaps most

    def at(self, chosen: np.ndarray) -> 'Pixels':
        return Pixels(*(field[chosen] for field in self))


def positives_and_negatives(
    head: SPRHead, sample: DetDataSample
) -> tuple[Pixels, Pixels]:
    """The pixels that the head's sampler chooses, and all the others.

    Args:
        head: an SPRHead.
        sample: a preprocessed image's, with ``gt_instances``.
    """
    height, width = sample.batch_input_shape
    sizes = [
        (-(-height // y), -(-width // x))
        for x, y in head.anchor_generator.strides
    ]
    feats = [torch.empty(1, 0, *size) for size in sizes]
    anchors = head.anchors(feats, sample.metainfo)
    boxes = sample.gt_instances.bboxes
    chosen, objects, _ = head.sampler(anchors, boxes)

    overlaps, best, nearest = assign_pixels(anchors, boxes)
    nearest[chosen] = objects
    rows = torch.arange(len(anchors))
    anchors = anchors[rows, best]
    everything = Pixels(
        rows.numpy(),
        locate(rows, sizes)[0].numpy(),
        anchors.numpy(),
        overlaps.numpy(),
        nearest.numpy(),
    )
    others = (anchors[:, 2:] > anchors[:, :2]).all(dim=1)  # no padding
    others[chosen] = False
    return everything.at(chosen.numpy()), everything.at(others.numpy())


def some_negatives(
    negatives: Pixels, levels: Sequence[int], size: tuple[int, int], count: int
) -> Pixels:
    """At most ``count`` negatives, at random, that hardly overlap an object.

    Their anchor lies in the image. They are of the given levels, or of any
    level if none is given: where pixels of a level are positive, its anchors
    have the objects' size.

    Args:
        negatives: all of them.
        levels: those that have positives.
        size: the image's height and width.
        count: how many.
    """
    x1, y1, x2, y2 = negatives.anchors.T
    height, width = size
    fit = (x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height)
    fit &= negatives.overlaps < NEGATIVE
    if len(levels):
        fit &= np.isin(negatives.levels, levels)
    candidates = np.flatnonzero(fit)
    count = min(count, len(candidates))
    return negatives.at(np.random.choice(candidates, count, replace=False))


def best_of_each(positives: Pixels) -> Pixels:
    """Of every object the positive pixel whose anchor overlaps it most."""
    order = np.argsort(-positives.overlaps, kind='stable')
    _, first = np.unique(positives.objects[order], return_index=True)
    return positives.at(order[first])


def draw(
    image: np.ndarray,
    boxes: np.ndarray,
    positives: Pixels,
    negatives: Pixels,
    strides: Sequence[tuple[int, int]],
    title: str,
    path: Path,
) -> None:
    """One picture with its legend.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (G, 4) ground truth.
        positives: all of them.
        negatives: those to draw.
        strides: of the levels.
        title: what stands above.
        path: the picture.
    """
    height, width = image.shape[:2]
    scale = max(1.0, LONG_SIDE / max(height, width))
    visualizer = DetLocalVisualizer()
    visualizer.set_image(mmcv.imrescale(image, scale))
    legend = []

    def show_boxes(corners: np.ndarray, colour: str, line: str, label: str):
        if len(corners):
            visualizer.draw_bboxes(
                corners.clip(0, (width, height) * 2) * scale,
                edge_colors=colour,
                line_styles=line,
            )
            legend.append(Line2D([], [], c=colour, ls=line, label=label))

    def show_dots(pixels: Pixels, colour: str, label: str):
        for level in np.unique(pixels.levels):
            anchors = pixels.anchors[pixels.levels == level]
            name = f'P{round(np.log2(strides[level][0]))}'
            dots = dict(color=colour, marker=MARKERS[level % len(MARKERS)])
            visualizer.draw_points(
                (anchors[:, :2] + anchors[:, 2:]) / 2 * scale,
                colors=colour,
                marker=dots['marker'],
                sizes=np.full(len(anchors), 36 * (1 + level)),
            )
            legend.append(
                Line2D(
                    [],
                    [],
                    ls='',
                    **dots,
                    label=f'{name}: {len(anchors)} {label}',
                )
            )

    learned = np.isin(np.arange(len(boxes)), positives.objects)
    show_boxes(boxes[learned], 'lime', '-', 'object')
    show_boxes(boxes[~learned], 'lime', '--', 'object that no pixel learns')
    show_boxes(negatives.anchors, 'blue', '-', "a negative's best anchor")
    show_boxes(
        best_of_each(positives).anchors, 'red', '-', "an object's best anchor"
    )
    show_dots(negatives, 'blue', 'negative')
    show_dots(positives, 'red', 'positive')

    inch = 10 / max(height, width)
    figure = Figure(
        figsize=(inch * width + 3, inch * height + 0.5), layout='constrained'
    )
    ax = figure.subplots()
    ax.imshow(visualizer.get_image())
    ax.set_title(title)
    ax.axis('off')
    figure.legend(handles=legend, loc='outside right upper')
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def draw_images(args: argparse.Namespace) -> int:
    """Draw the chosen images; return how many."""
    register_all_modules()
    config = load_config(args.config, args.cfg_options)
    set_random_seed(0)  # flips and samples, the same each time
    model = MODELS.build(config.model)  # weights are neither drawn nor loaded
    head = getattr(model, 'mask_head', None)
    if not isinstance(head, SPRHead):
        raise ValueError(
            f'{args.config} has no mask head of type SPRHead, so no pixel '
            'trains a mask'
        )
    if not isinstance(head.sampler, OverlapPixelSampler):
        raise ValueError(
            f'model.mask_head.sampler.type={type(head.sampler).__name__} '
            'trains boxes, so no pixel is positive; an OverlapPixelSampler '
            'trains pixels'
        )
    dataset = DATASETS.build(config.train_dataloader.dataset)
    chosen = select(dataset, args.image_ids, args.number)
    for i in chosen:
        item = dataset[i]
        image = item['inputs'].permute(1, 2, 0).numpy()[..., ::-1]
        data = model.data_preprocessor(pseudo_collate([item]), True)
        (sample,) = data['data_samples']
        positives, negatives = positives_and_negatives(head, sample)
        boxes = sample.gt_instances.bboxes.numpy()
        draw(
            image,
            boxes,
            positives,
            some_negatives(
                negatives,
                np.unique(positives.levels),
                sample.img_shape,
                args.negatives,
            ),
            head.anchor_generator.strides,
            f'image {sample.img_id}: {len(positives.indices)} positive pixels '
            f'for {len(np.unique(positives.objects))} of {len(boxes)} objects '
            f'({head.sampler})',
            args.out_dir / f'{sample.img_id}.png',
        )
    return len(chosen)


def main() -> None:
    args = parse_args()
    with one_sentence():
        count = draw_images(args)
    print(f'{count} pictures drawn to {args.out_dir}')


if __name__ == '__main__':
    main()
