"""What the page computes when a visitor does something."""

import html
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from common.gates import draw, find_gates
from common.pictures import make_visualizer

import cv2
import gradio as gr
import mmcv
import numpy as np
from matplotlib.figure import Figure
from mmdet.utils import get_test_pipeline_cfg
from mmdet.visualization import get_palette
from mmengine.dataset import BaseDataset, Compose
from torch import nn

from projects.sprnet import BoxGrid, OverlapLocationSampler
from projects.sprnet.errors import InputError

from .drawing import (
    draw_anchors,
    draw_cross,
    draw_detections,
    draw_map,
    draw_mask,
)
from .images import read_image
from .location import (
    LocationPrediction,
    LocationTraining,
    nearest_locations,
    predict_locations,
    training_at,
)
from .view import View, add_truth, predict_view, scores_shown_anchors

LEVEL_PARTS = 4  # components of a level: a text and three pictures


class VisitorState(NamedTuple):
    """A visitor's last image and last click."""

    view: View
    picture: np.ndarray  # the displayed image with detections
    click: tuple[float, float]  # (x, y) in pixels of the original image


def warn(outputs: int, message: str) -> list:
    """Show a message and leave all of an action's outputs unchanged."""
    gr.Warning(html.escape(message))
    return [gr.skip()] * outputs


class Actions:
    """The page's actions, shared by all visitors.

    What belongs to one visitor is in a :class:`VisitorState` alone. Actions
    take the positions of the sliders: ``score``, the lowest score of a
    displayed detection, and ``mask``, the lowest probability of a pixel of a
    mask. They return new values of the page's components, in its order.

    Args:
        model: an SPRNet that :func:`.view.check_supported` accepts.
        dataset: has the examples; None without examples.
        examples: indices into the data set.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: BaseDataset | None,
        examples: list[int],
    ) -> None:
        self.model = model
        self.dataset = dataset
        self.examples = examples
        self.pipeline = Compose(get_test_pipeline_cfg(model.cfg))
        self.visualizer = make_visualizer(model.cfg, model.dataset_meta)
        self.classes = model.dataset_meta['classes']
        self.palette = get_palette(
            model.dataset_meta['palette'], len(self.classes)
        )
        self.levels = model.bbox_head.prior_generator.num_levels
        self.outputs = 3 + LEVEL_PARTS * self.levels  # see redraw
        self.scores_anchors = scores_shown_anchors(model)
        self.reads_boxes = isinstance(model.mask_head.encoder, BoxGrid)
        try:
            self.gates, self.no_gates = find_gates(model), ''
        except InputError as error:
            self.gates, self.no_gates = [], f'{error}.'

    def open_first(self, score: float, mask: float) -> list:
        """Show the first example."""
        return self.open_view(partial(self.view_example, 0), score, mask)

    def pick(self, score: float, mask: float, at: gr.SelectData) -> list:
        """Show the example that was clicked."""
        return self.open_view(
            partial(self.view_example, at.index), score, mask
        )

    def upload(self, path: str, score: float, mask: float) -> list:
        """Show an uploaded image."""
        return self.open_view(partial(self.view_upload, path), score, mask)

    def view_example(self, number: int) -> View:
        """Predict on an example; add its annotations."""
        index = self.examples[number]
        info = self.dataset.get_data_info(index)
        image = read_image(info['img_path'])
        view = predict_view(self.model, self.gates, self.dataset[index], image)
        return add_truth(view, info, self.model.mask_head.sampler)

    def view_upload(self, path: str) -> View:
        """Predict on an uploaded image."""
        image = read_image(path)
        item = self.pipeline(dict(img_path=path, img_id=0))
        return predict_view(self.model, self.gates, item, image)

    def open_view(
        self, predict: Callable[[], View], score: float, mask: float
    ) -> list:
        """Show an image, with a click into the middle of its best detection.

        Show a warning instead if the image cannot be read.
        """
        try:
            view = predict()
        except (OSError, RuntimeError, ValueError) as error:
            return warn(self.outputs, f'{error}.')
        except cv2.error as error:  # for example an image with a single row
            return warn(
                self.outputs,
                f'The image cannot be resized for the model: {error.err}.',
            )
        height, width = view.meta['ori_shape']
        box = [0, 0, width, height]
        if len(view.detections):
            box = view.detections.bboxes[0].tolist()
        click = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return self.redraw(VisitorState(view, view.image, click), score, mask)

    def redraw(
        self, visitor: VisitorState | None, score: float, mask: float
    ) -> list:
        """Show a visitor's image at new thresholds.

        Returns:
            The state, the picture, the line below it, and LEVEL_PARTS values
            for each level.
        """
        if visitor is None:  # no image yet, or it has expired
            return [gr.skip()] * self.outputs
        view = visitor.view
        picture = draw_detections(self.visualizer, view, score, mask)
        height, width = view.meta['ori_shape']
        input_height, input_width = view.meta['img_shape']
        count = int((view.detections.scores >= score).sum())
        line = (
            f'{count} of {len(view.detections)} detections shown; image '
            f'{width} x {height}, input {input_width} x {input_height} pixels'
        )
        visitor, picture, *levels = self.show_locations(
            visitor._replace(picture=picture), mask
        )
        return [visitor, picture, line, *levels]

    def click(
        self, visitor: VisitorState | None, mask: float, at: gr.SelectData
    ) -> list:
        """Show the locations where the picture was clicked."""
        if visitor is None:
            return warn(
                self.outputs - 1,
                'This image has expired; upload or pick one again.',
            )
        x, y = at.index  # in pixels of the picture
        scale = visitor.view.scale
        click = (x + 0.5) / scale, (y + 0.5) / scale
        return self.show_locations(visitor._replace(click=click), mask)

    def show_locations(self, visitor: VisitorState, mask: float) -> list:
        """Show the location of each level at a visitor's click.

        Returns:
            The state, the picture with a cross, and LEVEL_PARTS values for
            each level.
        """
        view, (x, y) = visitor.view, visitor.click
        scale_x, scale_y = view.meta['scale_factor']
        locations = nearest_locations(
            view.anchors, view.sizes, x * scale_x, y * scale_y
        )
        levels = []
        for location, training in zip(
            predict_locations(self.model, view, locations),
            training_at(view, locations),
        ):
            truth = None
            if training and training.object is not None:
                truth = view.truth.bboxes[training.object].numpy()
            colour = self.palette[location.label]
            levels += [
                self.describe(view, location, training),
                draw_anchors(view, location, self.scores_anchors, truth),
                draw_map(location),
                draw_mask(view, location, colour, mask, truth),
            ]
        position = round(x * view.scale), round(y * view.scale)
        return [visitor, draw_cross(visitor.picture, position), *levels]

    def describe(
        self,
        view: View,
        location: LocationPrediction,
        training: LocationTraining | None,
    ) -> str:
        """Describe a location in Markdown."""
        x1, y1, x2, y2 = location.box
        lines = [
            f'**{location.level}** stride {location.stride}, '
            f'row {location.row}, column {location.column}',
            f'**{self.classes[location.label]} {location.score:.3f}**',
            f'box {x1:.1f}, {y1:.1f} to {x2:.1f}, {y2:.1f}',
        ]
        if self.scores_anchors:
            x1, y1, x2, y2 = location.anchors[location.prior]
            lines[1] += f' of the anchor {x2 - x1:.0f} x {y2 - y1:.0f}'
        if training:
            lines.append(f'training: {self.describe_training(view, training)}')
        return '\n\n'.join(lines)

    def describe_training(self, view: View, training: LocationTraining) -> str:
        """Say whether a location is positive in training, and for what."""
        if training.object is None:
            return 'negative, overlaps no object'
        name = self.classes[view.truth.labels[training.object]]
        if training.positive:
            return f'**positive** for the {name}, IoU {training.overlap:.2f}'
        return f'negative, IoU {training.overlap:.2f} with the {name}'

    def gate_scores(
        self, visitor: VisitorState | None, tab_open: bool
    ) -> Figure:
        """Draw the gates' score maps, which is slow, if their tab is open."""
        if visitor is None or not tab_open:
            return gr.skip()
        view = visitor.view
        merges = [
            m._replace(extent=tuple(view.scale * side for side in m.extent))
            for m in view.merges
        ]
        return draw(view.image, merges, self.gates[0].limits)

    def notes(self) -> list[str]:
        """Explain what the page shows of this model, in sentences."""
        sampler = self.model.mask_head.sampler
        notes = [
            'In a mask, blue is probability 0 and yellow is probability 1. '
            'Grey is outside of the image.'
        ]
        if isinstance(sampler, OverlapLocationSampler):
            notes.append(
                f'Positive in training: {sampler}; at most '
                f'{sampler.max_locations} locations of an image train, chosen '
                'at random.'
            )
        if self.reads_boxes:
            notes.append(
                'Masks are read at the box, at the red dots; the location '
                'only predicts the box.'
            )
        if not self.scores_anchors:
            head = type(self.model.bbox_head).__name__
            notes.append(
                f'{head} does not score these anchors; they only decide which '
                'locations train masks.'
                if sampler.chooses_locations
                else f'{head} scores points. The squares around them, shown '
                'as anchors, are a stride wide.'
            )
        return notes

    def thumbnails(self) -> list[np.ndarray]:
        """Read the examples and make them small.

        Raises:
            OSError: A file is missing.
            InputError: A file cannot be read as an image.
        """
        paths = [
            self.dataset.get_data_info(index)['img_path']
            for index in self.examples
        ]
        return [mmcv.imrescale(read_image(p), (160, 160)) for p in paths]
