"""The page's layout, and the actions that its events call."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import gradio as gr

from .actions import Actions
from .drawing import COLOURS

EXPIRY = 3600  # seconds after which a visitor's image is deleted
MAX_VISITORS = 16  # whose images are kept: the latest ones
MAX_FILE_SIZE = '50mb'  # of an upload
TEMP_DIR_VARIABLE = 'GRADIO_TEMP_DIR'  # environment variable that Gradio reads
SCORE = 0.3  # first position of the slider
ROW_HEIGHT = 140  # of a level's pictures, in pixels
PICTURE = dict(format='jpeg', interactive=False, buttons=['fullscreen'])
# The model's hooks and the visualizer can only serve one visitor at a time.
ONE_AT_A_TIME = dict(concurrency_id='page', concurrency_limit=1)
CSS = """
.gradio-container {max-width: 1500px !important}
.level p {margin: 0}
.legend span {display: inline-block; margin-right: 1em; white-space: nowrap}
.legend i {display: inline-block; width: 1em; height: 1em; border: 3px solid;
    margin-right: .3em; vertical-align: -.15em; background: #808080;
    outline: 1px solid #808080}
"""
LEGEND = dict(
    location='location',
    anchors='its anchors',
    best='the best one',
    box='regressed box',
    object='annotated object',
    grid='points that were read',
)
HEADINGS = '', 'anchors', '32x32 mask', 'mask in its box'


class ImageColumn(NamedTuple):
    """Components of the left column."""

    picture: gr.Image
    line: gr.Markdown  # below the picture
    upload: gr.UploadButton
    score: gr.Slider
    mask: gr.Slider
    gallery: gr.Gallery


class Tabs(NamedTuple):
    """Components of the right column."""

    location_tab: gr.Tab
    levels: list[gr.components.Component]  # LEVEL_PARTS for each level
    gates_tab: gr.Tab
    gates: gr.Plot


def build_page(actions: Actions, title: str) -> gr.Blocks:
    """Build the page; :func:`launch` serves it.

    Args:
        actions: what the page's events call.
        title: the name of the model.
    """
    with gr.Blocks(
        title='Single-pixel explorer',
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(EXPIRY // 4, EXPIRY),
    ) as page:
        gr.Markdown(f'**Single-pixel explorer** of {title}')
        with gr.Row():
            with gr.Column(scale=2, min_width=400):
                column = build_image_column(actions)
            with gr.Column(scale=3, min_width=600), gr.Tabs():
                tabs = build_tabs(actions)
        connect(page, actions, column, tabs)
    return page


def build_image_column(actions: Actions) -> ImageColumn:
    """Build the picture, the upload button, the sliders and the examples."""
    min_score = actions.model.bbox_head.test_cfg.get('score_thr', 0)
    picture = gr.Image(
        label='Detections. Click any pixel.',
        height=420,
        elem_id='picture',
        **PICTURE,
    )
    line = gr.Markdown('Upload an image.', elem_id='line')
    upload = gr.UploadButton(
        'Upload an image', file_types=['image'], size='sm'
    )
    with gr.Row():
        score, mask = (
            gr.Slider(
                low,
                1,
                value,
                step=0.01,
                label=f'{name.capitalize()} threshold',
                elem_id=name,
            )
            for name, low, value in (
                ('score', min_score, max(SCORE, min_score)),
                ('mask', 0, actions.model.mask_head.mask_threshold),
            )
        )
    gallery = gr.Gallery(
        actions.thumbnails(),
        show_label=False,
        columns=4,
        height=264,
        allow_preview=False,
        object_fit='contain',
        buttons=[],
        visible=bool(actions.examples),
        elem_id='examples',
    )
    return ImageColumn(picture, line, upload, score, mask, gallery)


def build_tabs(actions: Actions) -> Tabs:
    """Build the tab of the clicked locations and the tab of the gates."""
    with gr.Tab('Location') as location_tab:
        levels = build_levels(actions)
    with gr.Tab('Gates') as gates_tab:
        gr.Markdown(
            actions.no_gates
            or "How much of each level's own map (x1) and of the map from "
            'above (x2) the gates let through.'
        )
        gates = gr.Plot(
            show_label=False, visible=bool(actions.gates), elem_id='gates'
        )
    return Tabs(location_tab, levels, gates_tab, gates)


def build_levels(actions: Actions) -> list[gr.components.Component]:
    """Build a legend and for each level a row of a text and three pictures."""
    swatch = '<span><i style="border-color: rgb{}"></i>{}</span>'
    gr.HTML(
        ''.join(
            swatch.format(COLOURS[name], text)
            for name, text in LEGEND.items()
            if name != 'grid' or actions.reads_boxes
        ),
        elem_classes='legend',
    )
    with gr.Row():
        for scale, heading in zip((3, 2, 2, 2), HEADINGS):
            with gr.Column(scale=scale, min_width=ROW_HEIGHT):
                gr.Markdown(heading)
    parts = []
    for level in range(actions.levels):
        with gr.Row(equal_height=True):
            with gr.Column(scale=3, min_width=ROW_HEIGHT):
                parts.append(
                    gr.Markdown(elem_classes='level', elem_id=f'text-{level}')
                )
            for name in ('anchors', 'map', 'mask'):
                parts.append(
                    gr.Image(
                        scale=2,
                        show_label=False,
                        height=ROW_HEIGHT,
                        min_width=ROW_HEIGHT,
                        elem_id=f'{name}-{level}',
                        **PICTURE,
                    )
                )
    gr.Markdown('\n\n'.join(actions.notes()))
    return parts


def connect(
    page: gr.Blocks, actions: Actions, column: ImageColumn, tabs: Tabs
) -> None:
    """Connect the page's events to the actions."""
    visitor = gr.State(time_to_live=EXPIRY)
    thresholds = [column.score, column.mask]
    outputs = [visitor, column.picture, column.line, *tabs.levels]
    opening = dict(
        outputs=outputs, show_progress_on=column.picture, **ONE_AT_A_TIME
    )
    quiet = dict(show_progress='hidden', **ONE_AT_A_TIME)
    opened = [
        column.upload.upload(
            actions.upload, [column.upload, *thresholds], **opening
        ),
        column.gallery.select(actions.pick, thresholds, **opening),
    ]
    if actions.examples:
        opened.append(page.load(actions.open_first, thresholds, **opening))
    if actions.gates:
        tab_open = gr.State(False)
        tabs.location_tab.select(lambda: False, None, tab_open)
        opened.append(tabs.gates_tab.select(lambda: True, None, tab_open))
        for event in opened:
            event.success(
                actions.gate_scores,
                [visitor, tab_open],
                tabs.gates,
                **ONE_AT_A_TIME,
            )
    column.picture.select(
        actions.click,
        [visitor, column.mask],
        [visitor, column.picture, *tabs.levels],
        **quiet,
    )
    for slider in thresholds:
        slider.change(
            actions.redraw,
            [visitor, *thresholds],
            outputs,
            trigger_mode='always_last',
            **quiet,
        )


@contextmanager
def temporary_files() -> Iterator[None]:
    """Keep the page's files in a folder that is deleted on exit.

    Gradio would leave its own folder behind.
    """
    before = os.environ.get(TEMP_DIR_VARIABLE)
    with tempfile.TemporaryDirectory(
        prefix='explorer-', ignore_cleanup_errors=True
    ) as folder:
        os.environ[TEMP_DIR_VARIABLE] = folder
        try:
            yield
        finally:
            del os.environ[TEMP_DIR_VARIABLE]
            if before is not None:
                os.environ[TEMP_DIR_VARIABLE] = before


def launch(page: gr.Blocks, host: str, port: int | None) -> str:
    """Serve a page from a thread.

    Args:
        page: from :func:`build_page`.
        host: the only address to listen at.
        port: None for the first free one from 7860 on.

    Returns:
        The page's address.

    Raises:
        OSError: There is no such host, or the port is taken.
    """
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        ssr_mode=False,
        footer_links=['settings'],
        max_file_size=MAX_FILE_SIZE,
        state_session_capacity=MAX_VISITORS,
        css=CSS,
        quiet=True,
        prevent_thread_lock=True,
    )
    return address
