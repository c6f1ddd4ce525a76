"""The explorer's predictions, its page and its error messages."""

import gc

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from PIL import Image
from support.helpers import (
    BOX_CONFIG,
    CONFIGS,
    SHAPES_CONFIG,
    build_model,
    sample,
)

pytest.importorskip('gradio', reason='the explorer needs Gradio')

from common import demo_model

import explorer
import gradio as gr
from explore.images import read_image
from explore.location import (
    nearest_locations,
    predict_locations,
    training_at,
)
from explore.view import (
    View,
    assign_training,
    best_detection_per_location,
    check_supported,
)
from gradio_client import Client, handle_file
from support.explorer_pages import COUNT, build_actions, served, write_noise
from support.in_process import (
    ANY_CHECKPOINT,
    complaint,
    run_command,
    save_checkpoint,
)

from projects.sprnet.detections import candidates
from projects.sprnet.pasting import paste_one_by_one
from projects.sprnet.pyramid import pyramid_sizes

SIZES = [(24, 24), (12, 12), (6, 6), (3, 3), (2, 2)]  # of 192 x 192 pixels
RTMDET_BOX = CONFIGS / 'other_heads' / 'sprnet_rtmdet-tiny_plus-box_shapes.py'
RETINANET = CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py'


@pytest.fixture(scope='module')
def actions(shapes):
    return build_actions(shapes)


@pytest.fixture(scope='module')
def visitor(actions):
    """The state of a visitor who has opened the page."""
    return actions.open_first(0, 0.5)[0]


@pytest.fixture(scope='module')
def address(actions):
    with served(actions) as address:
        yield address


@pytest.mark.parametrize('config', [SHAPES_CONFIG, BOX_CONFIG])
def test_detections_are_those_of_the_test_loop(shapes, config):
    actions = build_actions(shapes, config)
    detections = actions.view_example(1).detections
    with torch.no_grad():
        (sample,) = actions.model.test_step(
            pseudo_collate([actions.dataset[1]])
        )
    expected = sample.pred_instances
    for field in {'bboxes', 'scores', 'labels', 'locations'} & {
        *expected.keys()
    }:
        assert torch.equal(detections[field], expected[field])
    masks = paste_one_by_one(detections.maps, expected.bboxes, (96, 96), 0.5)
    assert len(expected) == COUNT and expected.masks.any()
    assert torch.equal(masks, expected.masks)


def test_best_detection_per_location_against_loops(actions, visitor):
    view, head = visitor.view, actions.model.bbox_head
    with torch.no_grad():
        scores, deltas = head(view.features.levels)
    anchors = head.prior_generator.grid_priors(SIZES, device='cpu')
    location = 0
    for level, (height, width) in enumerate(SIZES):
        for y in range(height):
            for x in range(width):
                own_scores = scores[level][0, :, y, x].view(9, 6).sigmoid()
                anchor, label = divmod(int(own_scores.argmax()), 6)
                delta = deltas[level][0, :, y, x].view(9, 4)[anchor]
                prior = anchors[level].view(height, width, 9, 4)[y, x, anchor]
                box = head.bbox_coder.decode(
                    prior[None], delta[None], max_shape=(192, 192)
                )
                best = view.best_detections[location]
                assert best.priors == anchor and best.labels == label
                assert torch.allclose(best.scores, own_scores.max())
                assert torch.allclose(best.bboxes, box / 2, atol=1e-4)
                location += 1
    assert location == len(view.best_detections)


@pytest.mark.parametrize('name', ['atss', 'gfl', 'fcos'])
def test_best_detection_per_location_of_other_heads(name):
    model = build_model(
        CONFIGS / 'other_heads' / f'sprnet_{name}_r50_fpn_1x_coco.py',
        **{'backbone.depth': 18, 'neck.in_channels': [64, 128, 256, 512]},
    ).eval()
    check_supported(model)
    head = model.bbox_head
    meta = sample([], [], (96, 128)).metainfo
    meta.update(scale_factor=(2.0, 2.0))
    torch.manual_seed(0)
    feats = [
        torch.randn(1, 256, *s)
        for s in ((12, 16), (6, 8), (3, 4), (2, 2), (1, 1))
    ]
    cfg = ConfigDict(score_thr=-1, nms_pre=10**6)
    with torch.no_grad():
        outs = head(feats)
        best = best_detection_per_location(head, outs, meta)
        (found,) = candidates(head, outs, [meta], cfg, rescale=True)
    assert len(best) == 192 + 48 + 12 + 4 + 1
    for location, detection in enumerate(best):
        expected = found[found.locations == location]
        assert len(expected) == 80
        expected = expected[int(expected.scores.argmax())]
        assert torch.allclose(detection.scores, expected.scores)
        assert torch.equal(detection.labels, expected.labels)
        assert torch.allclose(detection.bboxes, expected.bboxes)


def test_nearest_locations_against_loops(visitor):
    for x, y in ((0, 0), (191.9, 3), (100.2, 59.7), (37, 192)):
        expected, start = [], 0
        for level, (height, width) in enumerate(SIZES):
            stride = 8 * 2**level
            distances = [
                ((column * stride - x) ** 2 + (row * stride - y) ** 2)
                for row in range(height)
                for column in range(width)
            ]
            expected.append(start + int(np.argmin(distances)))
            start += height * width
        found = nearest_locations(visitor.view.anchors, SIZES, x, y)
        assert found.tolist() == expected


def test_a_location_predicts_the_detection_that_comes_from_it(
    actions, visitor
):
    view = visitor.view
    locations = view.detections.locations
    assert pyramid_sizes(view.features.levels) == SIZES
    compared = 0
    for location, detection in zip(
        predict_locations(actions.model, view, locations), view.detections
    ):
        row, column = location.row, location.column
        level = int(location.level[1]) - 3
        assert location.stride == 8 * 2**level
        start = sum(h * w for h, w in SIZES[:level])
        assert start + row * SIZES[level][1] + column == detection.locations
        # The image is half as large as the input.
        centre = np.array([column, row, column, row]) * location.stride / 2
        half = location.stride / 4
        cell = centre + np.array([-half, -half, half, half])
        np.testing.assert_allclose(location.cell, cell)
        if (location.label, location.score) == (
            detection.labels,
            detection.scores,
        ):
            np.testing.assert_allclose(
                location.box, detection.bboxes[0], rtol=1e-5
            )
            np.testing.assert_allclose(
                location.mask, detection.maps[0], atol=1e-6
            )
            compared += 1
    assert compared > 1


def test_without_anchors_squares_are_shown_around_points(shapes):
    actions = build_actions(shapes, RTMDET_BOX)
    view = actions.open_first(0, 0.5)[0].view
    assert 'RTMDetSepBNHead scores points' in actions.notes()[-1]
    assert view.anchors.shape == (24**2 + 12**2 + 6**2, 1, 4)
    # Row 2, column 1 of the finest level
    assert view.anchors[2 * 24 + 1].tolist() == [[4, 12, 12, 20]]
    (location,) = predict_locations(actions.model, view, torch.tensor([49]))
    assert (location.row, location.column) == (2, 1)
    x1, y1, x2, y2 = location.frame
    expected = [
        (x1 + (column + 0.5) / 7 * (x2 - x1), y1 + (row + 0.5) / 7 * (y2 - y1))
        for row in range(7)
        for column in range(7)
    ]
    np.testing.assert_allclose(location.points, expected, rtol=1e-5)


def test_positive_locations_are_those_of_training(actions):
    """Against the training pipeline and the mask head's own choice."""
    head, cfg = actions.model.mask_head, actions.model.cfg
    steps = cfg.train_dataloader.dataset.pipeline
    pipeline = Compose([step for step in steps if step.type != 'RandomFlip'])
    count = 0
    for index in range(5):
        view = actions.view_example(index)
        item = pipeline(actions.dataset.get_data_info(index))
        data = actions.model.data_preprocessor(pseudo_collate([item]), True)
        gt = data['data_samples'][0].gt_instances
        (anchors,) = head.anchors(view.features, [view.meta])
        expected = head.training_instances(0, gt, view.meta, anchors)
        positive = view.training.positive.nonzero()[:, 0]
        assert positive.tolist() == expected.location.tolist()
        objects = view.training.objects[positive]
        assert torch.equal(view.truth.labels[objects], expected.label)
        count += len(positive)
    assert count > 0
    training = training_at(view, torch.arange(len(view.anchors)))
    assert [location.positive for location in training] == (
        view.training.positive.tolist()
    )


def test_training_without_objects_or_annotations(actions, visitor):
    view = visitor.view
    no_objects = assign_training(
        actions.model.mask_head.sampler, view.anchors, torch.zeros(0, 4)
    )
    (training,) = training_at(
        view._replace(training=no_objects), torch.tensor([7])
    )
    assert training == (False, None, 0)
    assert 'no object' in actions.describe_training(view, training)
    assert training_at(view._replace(training=None), [1, 2]) == [None] * 2


def test_an_image_needs_one_forward_pass(actions, monkeypatch):
    calls = []
    extract = actions.model.extract_feat
    monkeypatch.setattr(
        actions.model,
        'extract_feat',
        lambda *args: calls.append(1) or extract(*args),
    )
    visitor, with_detections, *_ = actions.open_first(0, 0.5)
    _, without, line, *_ = actions.redraw(visitor, 1, 0.5)
    assert line.startswith(
        f'0 of {COUNT} detections shown; image 96 x 96, input'
    )
    assert (with_detections != without).any()
    *_, full_mask = actions.redraw(visitor, 1, 0)
    *_, empty_mask = actions.redraw(visitor, 1, 1)
    assert (full_mask != empty_mask).mean() > 0.1
    at = gr.SelectData(None, dict(index=[400, 240], value=None))
    clicked = actions.click(visitor, 0.5, at)
    assert len(clicked) == 2 + 4 * 5
    assert clicked[0].click == pytest.approx((48, 28.9), abs=0.1)
    assert 'stride 8, row 7, column 12' in clicked[2]
    assert calls == [1]
    with pytest.warns(UserWarning, match='expired'):
        assert len(actions.click(None, 0.5, at)) == len(clicked)


def test_gates_or_a_sentence(actions, visitor, shapes):
    figure = actions.gate_scores(visitor, True)
    titles = [ax.get_title() for ax in figure.axes]
    assert any(title.startswith('P3: score of x1') for title in titles)
    fpn = build_actions(shapes, CONFIGS / 'sprnet_r18_fpn_shapes.py')
    assert 'FPN has no gates' in fpn.no_gates
    assert fpn.view_example(0).merges == []


def test_limits_are_explained(actions, monkeypatch):
    assert len(actions.notes()) == 2
    monkeypatch.setattr(actions, 'scores_anchors', False)
    assert 'RetinaHead does not score these' in actions.notes()[2]
    with pytest.raises(ValueError, match='RetinaNet has no mask head'):
        check_supported(build_model(RETINANET))
    softmax = dict(type='CrossEntropyLoss', _delete_=True)
    with pytest.raises(ValueError, match='RetinaHead with loss_cls.type='):
        check_supported(build_model(**{'bbox_head.loss_cls': softmax}))


@pytest.fixture(scope='module')
def broken(tmp_path_factory, shapes):
    """Unreadable image files, and the message for each."""
    folder = tmp_path_factory.mktemp('broken')
    image = next((shapes / 'val2017').glob('*.jpg')).read_bytes()
    contents = {
        'text.jpg': (b'no image', 'is not an image'),
        'empty.png': (b'', 'is not an image'),
        'half.jpg': (image[: len(image) // 2], 'is a damaged image'),
        'large.ppm': (b'P6 9000 9000 255\n', 'has more than 50,000,000'),
        'huge.ppm': (b'P6 60000 60000 255\n', 'has more than 50,000,000'),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {
        folder / name: f'{name} {message}'
        for name, (_, message) in contents.items()
    }


def test_broken_files_are_explained(actions, broken):
    for file, message in broken.items():
        with pytest.warns(UserWarning, match=message):
            outputs = actions.upload(str(file), 0, 0.5)
        assert len(outputs) == 3 + 4 * 5


def test_an_image_too_thin_to_be_resized(actions, tmp_path):
    Image.new('RGB', (5000, 1)).save(tmp_path / 'thin.png')
    with pytest.warns(UserWarning, match='cannot be resized for the model'):
        actions.upload(str(tmp_path / 'thin.png'), 0, 0.5)


def test_any_readable_image_is_rgb(tmp_path):
    red = Image.new('RGB', (40, 30), (255, 0, 0))
    for name, mode in (('a.png', 'RGBA'), ('b.png', 'P'), ('c.webp', 'RGB')):
        red.convert(mode).save(tmp_path / name)
        image = read_image(str(tmp_path / name))
        assert image.shape == (30, 40, 3)
        assert abs(image[5, 5].astype(int) - (255, 0, 0)).max() < 6
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    red.save(tmp_path / 'turned.jpg', exif=exif)
    assert read_image(str(tmp_path / 'turned.jpg')).shape == (40, 30, 3)


def upload_of(path, height, width):
    return handle_file(str(write_noise(path, height, width)))


def count_views():
    """How many images are kept for all visitors together."""
    gc.collect()
    return sum(type(thing) is View for thing in gc.get_objects())


def test_visitors_see_only_their_own_images(address, broken, tmp_path):
    first, second = (
        Client(address, download_files=False, verbose=False) for _ in range(2)
    )
    small = upload_of(tmp_path / 'small.png', 60, 80)
    large = upload_of(tmp_path / 'large.png', 90, 150)
    before = count_views()
    line = first.predict(small, 0, 0.5, api_name='/upload')[1]
    assert line.startswith(f'{COUNT} of {COUNT} detections shown; image 80 x')
    for _ in range(2):
        line = second.predict(large, 1, 0.5, api_name='/upload')[1]
        assert line.startswith(f'0 of {COUNT} detections shown; image 150 x')
    assert 'image 80 x 60' in first.predict(0, 0.5, api_name='/redraw')[1]
    assert count_views() == before + 2  # the last image of each

    second.reset_session()  # becomes a third visitor, without an image
    assert 'image' not in str(second.predict(0, 0.5, api_name='/redraw')[1])

    bad = handle_file(str(next(iter(broken))))
    line = first.predict(bad, 0, 0.5, api_name='/upload')[1]
    assert 'image' not in str(line)
    assert 'image 80 x 60' in first.predict(0, 0.5, api_name='/redraw')[1]


@pytest.fixture
def listening(monkeypatch):
    """Run the command without serving its page; return the page's launch
    options."""
    launched = {}

    def launch(page, **options):
        launched.update(options, page=page)
        return None, 'http://127.0.0.1:7860/', None

    monkeypatch.setattr(gr.Blocks, 'launch', launch)
    monkeypatch.setattr(gr.Blocks, 'block_thread', lambda page: None)

    def call(*arguments):
        run_command(explorer, *arguments)
        return launched

    return call


@pytest.fixture(scope='module')
def checkpoint(actions, tmp_path_factory):
    """The model's weights in a folder like the demo's."""
    file = tmp_path_factory.mktemp('demo') / 'epoch_9.pth'
    return save_checkpoint(actions.model, file)


def test_without_arguments_it_opens_the_demo(
    listening, shapes, checkpoint, monkeypatch, capsys
):
    monkeypatch.setattr(demo_model, 'WORK_DIR', checkpoint.parent)
    monkeypatch.setattr(demo_model, 'DATA', shapes)
    monkeypatch.setattr(demo_model, 'CONFIG', SHAPES_CONFIG)
    assert 'run `make demo` first' in complaint(explorer)
    last = checkpoint.parent / 'last_checkpoint'
    last.write_text('/moved/since/epoch_9.pth')
    options = listening()
    assert options['server_name'] == '127.0.0.1'
    assert options['share'] is False
    assert options['page'].analytics_enabled is False
    assert SHAPES_CONFIG.stem in str(options['page'].config)
    assert 'The page is at http://127.0.0.1' in capsys.readouterr().out


def test_wrong_arguments_get_one_sentence(shapes, checkpoint, monkeypatch):
    data = ['--cfg-options', f'data_root={shapes}']
    for arguments, message in (
        ([SHAPES_CONFIG], 'CONFIG needs a CHECKPOINT'),
        ([SHAPES_CONFIG, 'no.pth'], 'no.pth does not exist'),
        (
            [RETINANET, checkpoint, *data, ANY_CHECKPOINT],
            'has no mask head of type SPRHead',
        ),
        ([SHAPES_CONFIG, checkpoint, '--image-ids', 99, *data], 'no image 99'),
        (['--host', '1.2.3.4'], '--host 1.2.3.4'),
        (['--port', 99999], '--host 127.0.0.1 --port 99999'),
    ):
        assert message in complaint(explorer, *arguments)
    monkeypatch.setattr(explorer, 'MISSING', ['gradio'])
    assert 'not installed: gradio; pip' in complaint(explorer)


def test_without_its_data_there_is_nothing_to_pick(
    listening, checkpoint, capsys
):
    options = ['--cfg-options', 'data_root=nowhere']
    page = listening(SHAPES_CONFIG, checkpoint, *options)['page']
    assert 'no validation images to pick: ' in capsys.readouterr().out
    (gallery,) = (
        block for block in page.blocks.values() if block.elem_id == 'examples'
    )
    assert not gallery.visible
