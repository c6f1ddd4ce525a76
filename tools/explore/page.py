"""The page: where things are, and what they are connected to."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr

from .actions import Actions
from .drawing import COLOURS

FORGET = 3600  # seconds after which a visitor's image is forgotten
VISITORS = 16  # whose image is kept, the latest ones
MAX_FILE = '50mb'  # of an upload
TEMPORARY = 'GRADIO_TEMP_DIR'  # where Gradio looks for its folder
SCORE = 0.3  # from which on detections are shown at first
ROW = 140  # height of a level's pictures
# The model's hooks and the visualizer serve one visitor at a time.
ALONE = dict(concurrency_id='page', concurrency_limit=1)
CSS = """
.gradio-container {max-width: 1500px !important}
.level p {margin: 0}
.legend span {display: inline-block; margin-right: 1em; white-space: nowrap}
.legend i {display: inline-block; width: 1em; height: 1em; border: 3px solid;
    margin-right: .3em; vertical-align: -.15em; background: #808080;
    outline: 1px solid #808080}
"""
LEGEND = dict(
    pixel='pixel',
    anchors='its anchors',
    best='the best one',
    box='regressed box',
    object='annotated object',
    grid='points that were read',
)
HEADINGS = '', 'anchors', '32x32 mask', 'mask in its box'


def build_page(actions: Actions, title: str) -> gr.Blocks:
    """The page, for :func:`launch`.

    Args:
        actions: what it does.
        title: what model it is of.
    """
    test_cfg = actions.model.bbox_head.test_cfg
    least = test_cfg.get('score_thr', 0)
    with gr.Blocks(
        title='Single-pixel explorer',
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(FORGET // 4, FORGET),
    ) as page:
        visit = gr.State(time_to_live=FORGET)
        gates_open = gr.State(False)
        gr.Markdown(f'**Single-pixel explorer** of {title}')
        with gr.Row():
            with gr.Column(scale=2, min_width=400):
                picture = gr.Image(
                    label='Detections. Click any pixel.',
                    format='jpeg',
                    interactive=False,
                    buttons=['fullscreen'],
                    height=420,
                    elem_id='picture',
                )
                line = gr.Markdown('Upload an image.', elem_id='line')
                upload = gr.UploadButton(
                    'Upload an image', file_types=['image'], size='sm'
                )
                with gr.Row():
                    score = gr.Slider(
                        least,
                        1,
                        max(SCORE, least),
                        step=0.01,
                        label='Score threshold',
                        elem_id='score',
                    )
                    mask = gr.Slider(
                        0,
                        1,
                        actions.model.mask_head.mask_threshold,
                        step=0.01,
                        label='Mask threshold',
                        elem_id='mask',
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
            with gr.Column(scale=3, min_width=600), gr.Tabs():
                with gr.Tab('Pixel') as pixel_tab:
                    levels = build_levels(actions)
                with gr.Tab('Gates') as gates_tab:
                    gr.Markdown(
                        actions.no_gates
                        or "How much of each level's own map (x1) and of the "
                        'map from above (x2) the gates let through.'
                    )
                    gates = gr.Plot(
                        show_label=False,
                        visible=bool(actions.gates),
                        elem_id='gates',
                    )

        thresholds = [score, mask]
        everything = [visit, picture, line, *levels]
        opening = dict(show_progress_on=picture, **ALONE)
        opened = [
            upload.upload(
                actions.upload, [upload, *thresholds], everything, **opening
            ),
            gallery.select(actions.pick, thresholds, everything, **opening),
        ]
        if actions.examples:
            opened.append(
                page.load(
                    actions.open_first, thresholds, everything, **opening
                )
            )
        if actions.gates:
            pixel_tab.select(lambda: False, None, gates_open)
            opened.append(gates_tab.select(lambda: True, None, gates_open))
            for event in opened:
                event.success(
                    actions.gate_scores, [visit, gates_open], gates, **ALONE
                )
        picture.select(
            actions.click,
            [visit, mask],
            [visit, picture, *levels],
            show_progress='hidden',
            **ALONE,
        )
        for slider in thresholds:
            slider.change(
                actions.redraw,
                [visit, *thresholds],
                everything,
                trigger_mode='always_last',
                show_progress='hidden',
                **ALONE,
            )
    return page


@contextmanager
def temporary_files() -> Iterator[None]:
    """A folder for what visitors send and are shown, for as long as pages
    are built and served in it; Gradio would leave its own behind."""
    before = os.environ.pop(TEMPORARY, None)
    with tempfile.TemporaryDirectory(
        prefix='explorer-', ignore_cleanup_errors=True
    ) as folder:
        os.environ[TEMPORARY] = folder
        try:
            yield
        finally:
            del os.environ[TEMPORARY]
            if before is not None:
                os.environ[TEMPORARY] = before


def launch(page: gr.Blocks, host: str, port: int | None) -> str:
    """Serve the page from a thread, to this address alone.

    Args:
        page: what :func:`build_page` made.
        host: to listen at.
        port: likewise; None for the first free one from 7860 on.

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
        max_file_size=MAX_FILE,
        state_session_capacity=VISITORS,
        css=CSS,
        quiet=True,
        prevent_thread_lock=True,
    )
    return address


def build_levels(actions: Actions) -> list[gr.components.Component]:
    """A row for every level, of its text and three pictures."""
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
            with gr.Column(scale=scale, min_width=ROW):
                gr.Markdown(heading)
    parts = []
    for level in range(actions.levels):
        with gr.Row(equal_height=True):
            with gr.Column(scale=3, min_width=ROW):
                parts.append(
                    gr.Markdown(elem_classes='level', elem_id=f'text-{level}')
                )
            for name in ('anchors', 'map', 'mask'):
                parts.append(
                    gr.Image(
                        scale=2,
                        show_label=False,
                        format='jpeg',
                        interactive=False,
                        buttons=['fullscreen'],
                        height=ROW,
                        min_width=ROW,
                        elem_id=f'{name}-{level}',
                    )
                )
    gr.Markdown('\n\n'.join(actions.notes()))
    return parts
