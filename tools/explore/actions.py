"""What the page does when it is touched."""

import html
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import cv2
import gradio as gr
import mmcv
import numpy as np
from common.gates import draw, find_gates
from matplotlib.figure import Figure
from mmdet.utils import get_test_pipeline_cfg
from mmdet.visualization import DetLocalVisualizer, get_palette
from mmengine.dataset import BaseDataset, Compose
from torch import nn

from projects.sprnet import BoxGrid, OverlapPixelSampler

from .drawing import (
    draw_anchors,
    draw_detections,
    draw_map,
    draw_mask,
    mark,
)
from .images import read_image
from .pixel import (
    Held,
    Training,
    pixels_hold,
    pixels_train,
    pixels_under,
)
from .view import View, look, scores_anchors, with_truth

PARTS = 4  # of a level: a text and three pictures


class Visit(NamedTuple):
    """What is kept of a visitor: the last image and the last click."""

    view: View
    picture: np.ndarray  # with detections
    click: tuple[float, float]  # (x, y) in pixels of the original image


def unchanged(outputs: int, message: str) -> list:
    """Say something to the visitor, and leave the page as it is."""
    gr.Warning(html.escape(message))
    return [gr.skip()] * outputs


class Actions:
    """What the page does. Visitors share this, and nothing of what they see.

    Thresholds are those of the page's sliders: ``score``, from which on
    detections are shown, and ``mask``, the probability from which on a pixel
    belongs to a mask. What is returned are the page's outputs, in its order.

    Args:
        model: an SPRNet, of which :func:`.view.check` approves.
        dataset: of the examples, None if there are none.
        examples: indices into it.
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
        self.visualizer = DetLocalVisualizer()
        self.visualizer.dataset_meta = model.dataset_meta
        self.classes = model.dataset_meta['classes']
        self.palette = get_palette(
            model.dataset_meta['palette'], len(self.classes)
        )
        self.levels = model.mask_head.anchor_generator.num_levels
        self.outputs = 3 + PARTS * self.levels  # see redraw
        self.scores_anchors = scores_anchors(model)
        self.reads_boxes = isinstance(model.mask_head.encoder, BoxGrid)
        try:
            self.gates, self.no_gates = find_gates(model), ''
        except ValueError as error:
            self.gates, self.no_gates = [], f'{error}.'

    def open_first(self, score: float, mask: float) -> list:
        """Show the first example."""
        return self.open(partial(self.example, 0), score, mask)

    def pick(self, score: float, mask: float, at: gr.SelectData) -> list:
        """Show the example that was clicked."""
        return self.open(partial(self.example, at.index), score, mask)

    def upload(self, path: str, score: float, mask: float) -> list:
        """Show a visitor's image."""
        return self.open(partial(self.sent, path), score, mask)

    def example(self, place: int) -> View:
        """An image of the data set, with its ground truth."""
        index = self.examples[place]
        info = self.dataset.get_data_info(index)
        image = read_image(info['img_path'])
        view = look(self.model, self.gates, self.dataset[index], image)
        return with_truth(view, info, self.model.mask_head.sampler)

    def sent(self, path: str) -> View:
        """A visitor's image."""
        image = read_image(path)
        item = self.pipeline(dict(img_path=path, img_id=0))
        return look(self.model, self.gates, item, image)

    def open(
        self, looking: Callable[[], View], score: float, mask: float
    ) -> list:
        """Show an image as if its best detection had been clicked, or say
        what is wrong with it."""
        try:
            view = looking()
        except (OSError, RuntimeError, ValueError) as error:
            return unchanged(self.outputs, f'{error}.')
        except cv2.error as error:  # such as of an image of one row
            return unchanged(
                self.outputs,
                f'The image cannot be resized for the model: {error.err}.',
            )
        height, width = view.meta['ori_shape']
        box = [0, 0, width, height]
        if len(view.found):
            box = view.found.bboxes[0].tolist()
        click = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        return self.redraw(Visit(view, view.image, click), score, mask)

    def redraw(self, visit: Visit | None, score: float, mask: float) -> list:
        """Show a visitor's image at these thresholds.

        Returns:
            The visit, the picture, a line on it, and :meth:`point`'s levels.
        """
        if visit is None:  # nothing was opened yet, or it was forgotten
            return [gr.skip()] * self.outputs
        view = visit.view
        picture = draw_detections(self.visualizer, view, score, mask)
        height, width = view.meta['ori_shape']
        in_height, in_width = view.meta['img_shape']
        count = int((view.found.scores >= score).sum())
        line = (
            f'{count} of {len(view.found)} detections shown; image {width} x '
            f'{height}, input {in_width} x {in_height} pixels'
        )
        visit, picture, *levels = self.point(
            visit._replace(picture=picture), mask
        )
        return [visit, picture, line, *levels]

    def click(
        self, visit: Visit | None, mask: float, at: gr.SelectData
    ) -> list:
        """Show the pixels under a click."""
        if visit is None:
            return unchanged(
                self.outputs - 1,
                'This image was forgotten; upload or pick one again.',
            )
        x, y = at.index  # in pixels of the picture
        scale = visit.view.scale
        click = (x + 0.5) / scale, (y + 0.5) / scale
        return self.point(visit._replace(click=click), mask)

    def point(self, visit: Visit, mask: float) -> list:
        """Show the pixels under a visit's click.

        Returns:
            The visit, the picture with a cross, and of each level the PARTS
            on its pixel.
        """
        view, (x, y) = visit.view, visit.click
        scale_x, scale_y = view.meta['scale_factor']
        pixels = pixels_under(
            view.anchors, view.sizes, x * scale_x, y * scale_y
        )
        levels = []
        for held, training in zip(
            pixels_hold(self.model, view, pixels), pixels_train(view, pixels)
        ):
            truth = None
            if training and training.object is not None:
                truth = view.truth.bboxes[training.object].numpy()
            levels += [
                self.text(view, held, training),
                draw_anchors(view, held, self.scores_anchors, truth),
                draw_map(held),
                draw_mask(view, held, self.palette[held.label], mask, truth),
            ]
        cross = round(x * view.scale), round(y * view.scale)
        return [visit, mark(visit.picture, cross), *levels]

    def text(self, view: View, held: Held, training: Training | None) -> str:
        """What is said of a pixel, in Markdown."""
        x1, y1, x2, y2 = held.box
        lines = [
            f'**{held.level}** stride {held.stride}, row {held.row}, column '
            f'{held.column}',
            f'**{self.classes[held.label]} {held.score:.3f}**',
            f'box {x1:.1f}, {y1:.1f} to {x2:.1f}, {y2:.1f}',
        ]
        if self.scores_anchors:
            x1, y1, x2, y2 = held.anchors[held.prior]
            lines[1] += f' of the anchor {x2 - x1:.0f} x {y2 - y1:.0f}'
        if training:
            lines.append(f'training: {self.verdict(view, training)}')
        return '\n\n'.join(lines)

    def verdict(self, view: View, training: Training) -> str:
        """What training would make of a pixel, in words."""
        if training.object is None:
            return 'negative, overlaps no object'
        name = self.classes[view.truth.labels[training.object]]
        if training.positive:
            return f'**positive** for the {name}, IoU {training.overlap:.2f}'
        return f'negative, IoU {training.overlap:.2f} with the {name}'

    def gate_scores(self, visit: Visit | None, wanted: bool) -> Figure:
        """The score maps of the gates over a visitor's image, if anyone looks
        at them: they take longer than all the rest."""
        if visit is None or not wanted:
            return gr.skip()
        view = visit.view
        merges = [
            m._replace(extent=tuple(view.scale * side for side in m.extent))
            for m in view.merges
        ]
        return draw(view.image, merges, self.gates[0].limits)

    def notes(self) -> list[str]:
        """What has to be known of this model, in sentences."""
        head, mask_head = self.model.bbox_head, self.model.mask_head
        sampler = mask_head.sampler
        notes = [
            'Masks are blue where their probability is 0 and yellow where it '
            'is 1; grey is beside the image.'
        ]
        if isinstance(sampler, OverlapPixelSampler):
            notes.append(
                f'Positive in training: {sampler}; at most '
                f'{sampler.max_pixels} of an image train, chosen at random.'
            )
        if self.reads_boxes:
            notes.append(
                'Masks are read from the box, at the red dots; the pixel only '
                'gives the box.'
            )
        if not self.scores_anchors:
            notes.append(
                f'{type(head).__name__} scores no such anchors; those drawn '
                'only decide which pixels train masks.'
            )
        return notes

    def thumbnails(self) -> list[np.ndarray]:
        """Small pictures of the examples.

        Raises:
            OSError: One is missing.
            ValueError: One cannot be read.
        """
        paths = [
            self.dataset.get_data_info(index)['img_path']
            for index in self.examples
        ]
        return [mmcv.imrescale(read_image(p), (160, 160)) for p in paths]
