"""Figure 6: the locations that train the mask branch, with their anchors.

    python tools/positive_pixels.py CONFIG

draws training images, as the pipeline gives them to the model, to
OUT_DIR/IMAGE_ID.png. No checkpoint is needed.

    green boxes  objects, dashed if no location learns the object
    red dots     positive locations
    red boxes    for each object its positive locations' anchor of highest IoU
    blue dots    some negative locations, whose IoU with every object is below
                 0.4
    blue boxes   the best anchor of each of these negative locations

The paper says pixels of the pyramid for its locations.
"""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from common.cli import (
    add_cfg_options,
    add_out_dir,
    add_selection,
    at_least_one,
    existing,
    one_sentence,
    parser_of,
)
from common.configs import find_spr_head, load_config
from common.files import mark
from common.images import select

import mmcv
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from mmdet.registry import DATASETS, MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmdet.visualization import DetLocalVisualizer
from mmengine.dataset import pseudo_collate
from mmengine.runner import set_random_seed

from projects.sprnet import OverlapLocationSampler, SPRHead
from projects.sprnet.errors import InputError
from projects.sprnet.locations import assign_locations
from projects.sprnet.pyramid import locate
from projects.sprnet.structures import Features

MARKERS = 'os^D*Pv'  # of the levels, finest first
NEGATIVE = 0.4  # IoU below which an anchor is negative, section 3.3
LEAST_SIDE = 1200  # keeps dots small beside objects, in pixels


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_out_dir(parser, 'positive_pixels')
    parser.add_argument('config', type=existing)
    add_selection(parser)
    parser.add_argument(
        '--negatives',
        type=at_least_one,
        default=5,
        help='how many negative locations to draw (5)',
    )
    add_cfg_options(parser)
    return parser.parse_args()


class Locations(NamedTuple):
    """P locations of an image's pyramid, see projects/sprnet/structures.py."""

    indices: np.ndarray  # (P,) of the pyramid's locations
    levels: np.ndarray  # (P,) index of the level
    anchors: np.ndarray  # (P, 4) the anchor that overlaps an object most
    overlaps: np.ndarray  # (P,) IoU of that anchor and that object
    objects: np.ndarray  # (P,) index of the object

    def at(self, chosen: np.ndarray) -> 'Locations':
        """Select locations by index or mask."""
        return Locations(*(field[chosen] for field in self))


def positives_and_negatives(
    head: SPRHead, sample: DetDataSample
) -> tuple[Locations, Locations]:
    """Split an image's locations into those that train and the others.

    Args:
        head: Its sampler chooses the positive locations.
        sample: A preprocessed image's, with ``gt_instances``.

    Returns:
        Positive locations, and negative ones without those of the padding.
    """
    height, width = sample.batch_input_shape
    strides = head.prior_generator.strides
    sizes = [(-(-height // y), -(-width // x)) for x, y in strides]
    levels = tuple(torch.empty(1, 0, *size) for size in sizes)
    (anchors,) = head.anchors(Features(levels), [sample.metainfo])
    boxes = sample.gt_instances.bboxes
    samples = head.sampler(boxes, anchors)
    chosen = samples.locations

    assigned = assign_locations(anchors, boxes)
    objects = assigned.objects.index_put((chosen,), samples.objects)
    rows = torch.arange(len(anchors))
    anchors = anchors[rows, assigned.anchors]
    everything = Locations(
        rows.numpy(),
        locate(rows, sizes)[0].numpy(),
        anchors.numpy(),
        assigned.overlaps.numpy(),
        objects.numpy(),
    )
    # Anchors in the padding have no area.
    negative = (anchors[:, 2:] > anchors[:, :2]).all(dim=1)
    negative[chosen] = False
    return everything.at(chosen.numpy()), everything.at(negative.numpy())


def some_negatives(
    negatives: Locations,
    levels: Sequence[int],
    size: tuple[int, int],
    count: int,
) -> Locations:
    """Choose at most ``count`` negative locations to draw, at random.

    Their best anchor lies in the image and has an IoU below ``NEGATIVE`` with
    every object.

    Args:
        negatives: All negative locations.
        levels: Levels to choose from, all if empty. Those with positive ones
            have anchors of the objects' size.
        size: Height and width of the image.
        count: How many to choose.
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


def best_of_each(positives: Locations) -> Locations:
    """Select for each object the positive location of highest IoU."""
    order = np.argsort(-positives.overlaps, kind='stable')
    _, first = np.unique(positives.objects[order], return_index=True)
    return positives.at(order[first])


class Picture:
    """An enlarged image with boxes and dots, and their legend.

    Args:
        image: (H, W, 3) uint8 RGB.
    """

    def __init__(self, image: np.ndarray) -> None:
        self.height, self.width = image.shape[:2]
        self.scale = max(1.0, LEAST_SIDE / max(self.height, self.width))
        self.visualizer = DetLocalVisualizer()
        self.visualizer.set_image(mmcv.imrescale(image, self.scale))
        self.legend: list[Line2D] = []

    def add_boxes(
        self, boxes: np.ndarray, colour: str, line: str, label: str
    ) -> None:
        """Draw boxes (n, 4), in pixels of the image."""
        if len(boxes):
            self.visualizer.draw_bboxes(
                boxes.clip(0, (self.width, self.height) * 2) * self.scale,
                edge_colors=colour,
                line_styles=line,
            )
            self.legend.append(Line2D([], [], c=colour, ls=line, label=label))

    def add_dots(
        self,
        locations: Locations,
        strides: Sequence[tuple[int, int]],
        colour: str,
        label: str,
    ) -> None:
        """Draw locations at the centre of their anchors, larger where
        coarser."""
        for level in np.unique(locations.levels):
            anchors = locations.anchors[locations.levels == level]
            marker = MARKERS[level % len(MARKERS)]
            self.visualizer.draw_points(
                (anchors[:, :2] + anchors[:, 2:]) / 2 * self.scale,
                colors=colour,
                marker=marker,
                sizes=np.full(len(anchors), 36 * (1 + level)),
            )
            name = f'P{round(np.log2(strides[level][0]))}'
            legend = Line2D([], [], c=colour, ls='', marker=marker)
            legend.set_label(f'{name}: {len(anchors)} {label}')
            self.legend.append(legend)

    def figure(self, title: str) -> Figure:
        """The picture with its title and legend."""
        inch = 10 / max(self.height, self.width)
        figure = Figure(
            figsize=(inch * self.width + 3, inch * self.height + 0.5),
            layout='constrained',
        )
        ax = figure.subplots()
        ax.imshow(self.visualizer.get_image())
        ax.set_title(title)
        ax.axis('off')
        figure.legend(handles=self.legend, loc='outside right upper')
        return figure


def draw(
    head: SPRHead, image: np.ndarray, sample: DetDataSample, count: int
) -> Figure:
    """Draw objects, positive locations and some negative ones.

    Args:
        head: Its sampler chooses the positive locations.
        image: (H, W, 3) uint8 RGB.
        sample: The preprocessed image's, with ``gt_instances``.
        count: How many negative locations to draw.
    """
    positives, negatives = positives_and_negatives(head, sample)
    levels = np.unique(positives.levels)
    negatives = some_negatives(negatives, levels, sample.img_shape, count)
    best = best_of_each(positives)
    boxes = sample.gt_instances.bboxes.numpy()
    learned = np.isin(np.arange(len(boxes)), best.objects)
    picture = Picture(image)
    for corners, colour, line, label in (
        (boxes[learned], 'lime', '-', 'object'),
        (boxes[~learned], 'lime', '--', 'object that no location learns'),
        (negatives.anchors, 'blue', '-', "a negative's best anchor"),
        (best.anchors, 'red', '-', "an object's best anchor"),
    ):
        picture.add_boxes(corners, colour, line, label)
    strides = head.prior_generator.strides
    picture.add_dots(negatives, strides, 'blue', 'negative')
    picture.add_dots(positives, strides, 'red', 'positive')
    return picture.figure(
        f'image {sample.img_id}: {len(positives.indices)} positive locations '
        f'for {len(best.objects)} of {len(boxes)} objects ({head.sampler})'
    )


def draw_images(args: argparse.Namespace) -> int:
    """Draw the chosen images; return how many.

    Raises:
        InputError: The model has no SPRHead, or the head trains no
            locations.
    """
    register_all_modules()
    config = load_config(args.config, args.cfg_options)
    set_random_seed(0)  # the same flips and samples each time
    model = MODELS.build(config.model)
    head = find_spr_head(model)
    if not isinstance(head.sampler, OverlapLocationSampler):
        raise InputError(
            f'model.mask_head.sampler.type={type(head.sampler).__name__} '
            'chooses boxes instead of positive locations; use '
            'OverlapLocationSampler or EveryObjectLocationSampler'
        )
    dataset = DATASETS.build(config.train_dataloader.dataset)
    chosen = select(dataset, args.image_ids, args.number)
    mark(args.out_dir)
    for i in chosen:
        item = dataset[i]
        image = item['inputs'].permute(1, 2, 0).numpy()[..., ::-1]
        data = model.data_preprocessor(pseudo_collate([item]), True)
        (sample,) = data['data_samples']
        figure = draw(head, image, sample, args.negatives)
        figure.savefig(args.out_dir / f'{sample.img_id}.png', dpi=100)
    return len(chosen)


def main() -> None:
    args = parse_args()
    with one_sentence():
        count = draw_images(args)
    print(f'{count} pictures drawn to {args.out_dir}')


if __name__ == '__main__':
    main()
