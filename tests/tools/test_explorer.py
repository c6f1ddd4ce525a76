"""The explorer's numbers, its page's calls, and its complaints."""

import gc
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.structures import InstanceData
from PIL import Image
from support.helpers import (
    BOX_CONFIG,
    CONFIGS,
    SHAPES_CONFIG,
    build_model,
    sample,
)

pytest.importorskip('gradio', reason='the explorer needs Gradio')

import explorer
import gradio as gr
from common import demo_model
from explore.images import read_image
from explore.pixel import pixels_hold, pixels_train, pixels_under
from explore.view import (
    View,
    best_of_pixels,
    check,
    training_of,
)
from gradio_client import Client, handle_file
from support.explorer_pages import COUNT, actions, served

from projects.sprnet.detections import candidate_pixels
from projects.sprnet.pasting import paste_masks
from projects.sprnet.pyramid import pyramid_sizes

SIZES = [(24, 24), (12, 12), (6, 6), (3, 3), (2, 2)]  # of 192 x 192 pixels
HEADS = CONFIGS / 'other_heads'


@pytest.fixture(scope='module')
def acts(shapes):
    return actions(shapes)


@pytest.fixture(scope='module')
def visit(acts):
    """What is kept of a visitor of the first image."""
    return acts.open_first(0, 0.5)[0]


@pytest.fixture(scope='module')
def address(acts):
    with served(acts) as address:
        yield address


@pytest.mark.parametrize('config', [SHAPES_CONFIG, BOX_CONFIG])
def test_detections_are_the_models_own(shapes, config):
    acts = actions(shapes, config)
    view = acts.example(1)
    with torch.no_grad():
        (own,) = acts.model.test_step(pseudo_collate([acts.dataset[1]]))
    own = own.pred_instances
    for field in ('bboxes', 'scores', 'labels', 'pixels'):
        assert torch.equal(view.found[field], own[field])
    masks = paste_masks(view.found.maps, own.bboxes, 96, 96, 0.5)
    assert len(own) == COUNT and own.masks.any()
    assert torch.equal(masks, own.masks)


def test_a_pixels_best_against_loops(acts, visit):
    view, head = visit.view, acts.model.bbox_head
    with torch.no_grad():
        scores, deltas = head(view.feats)
    anchors = head.prior_generator.grid_priors(SIZES, device='cpu')
    pixel = 0
    for level, (height, width) in enumerate(SIZES):
        for y in range(height):
            for x in range(width):
                each = scores[level][0, :, y, x].view(9, 6).sigmoid()
                anchor, label = divmod(int(each.argmax()), 6)
                delta = deltas[level][0, :, y, x].view(9, 4)[anchor]
                prior = anchors[level].view(height, width, 9, 4)[y, x, anchor]
                box = head.bbox_coder.decode(
                    prior[None], delta[None], max_shape=(192, 192)
                )
                found = view.pixels[pixel]
                assert found.priors == anchor and found.labels == label
                assert torch.allclose(found.scores, each.max())
                assert torch.allclose(found.bboxes, box / 2, atol=1e-4)
                pixel += 1
    assert pixel == len(view.pixels)


@pytest.mark.parametrize('name', ['atss', 'gfl', 'fcos'])
def test_other_heads_tell_their_pixels_best(name):
    model = build_model(
        HEADS / f'sprnet_{name}_r50_fpn_1x_coco.py',
        **{'backbone.depth': 18, 'neck.in_channels': [64, 128, 256, 512]},
    ).eval()
    check(model)
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
        best = best_of_pixels(head, outs, meta)
        (every,) = head.predict_by_feat(
            *outs,
            batch_img_metas=[meta],
            cfg=cfg,
            rescale=True,
            with_nms=False,
        )
    pixels = candidate_pixels([o[0] for o in outs[0]], head, cfg, every.scores)
    assert len(best) == 192 + 48 + 12 + 4 + 1
    for pixel, one in enumerate(best):
        own = every[pixels == pixel]
        assert len(own) == 80
        own = own[int(own.scores.argmax())]
        assert torch.allclose(one.scores, own.scores)
        assert torch.equal(one.labels, own.labels)
        assert torch.allclose(one.bboxes, own.bboxes)


def test_pixels_under_a_click_are_the_nearest(visit):
    for x, y in ((0, 0), (191.9, 3), (100.2, 59.7), (37, 192)):
        expected, start = [], 0
        for level, (height, width) in enumerate(SIZES):
            stride = 8 * 2**level
            far = [
                ((column * stride - x) ** 2 + (row * stride - y) ** 2)
                for row in range(height)
                for column in range(width)
            ]
            expected.append(start + int(np.argmin(far)))
            start += height * width
        found = pixels_under(visit.view.anchors, SIZES, x, y)
        assert found.tolist() == expected


def test_a_pixel_holds_the_detection_that_comes_from_it(acts, visit):
    view = visit.view
    held = pixels_hold(acts.model, view, view.found.pixels)
    sizes = pyramid_sizes(view.feats)
    assert sizes == SIZES
    compared = 0
    for one, found in zip(held, view.found):
        row, column = one.row, one.column
        level = int(one.level[1]) - 3
        assert one.stride == 8 * 2**level
        start = sum(h * w for h, w in SIZES[:level])
        assert start + row * SIZES[level][1] + column == found.pixels
        middle = np.array([column, row, column, row]) * one.stride / 2
        half = one.stride / 4  # the image is half as large as the input
        cell = middle + np.array([-half, -half, half, half])
        np.testing.assert_allclose(one.cell, cell)
        if one.label == found.labels and one.score == found.scores:
            np.testing.assert_allclose(one.box, found.bboxes[0], rtol=1e-5)
            np.testing.assert_allclose(one.mask, found.maps[0], atol=1e-6)
            compared += 1
    assert compared > 1


def test_training_calls_positive_what_trains(acts, visit):
    """Against the training pipeline and the mask head's own choice."""
    head, cfg = acts.model.mask_head, acts.model.cfg
    trained = 0
    for index in range(5):
        view = acts.example(index)
        pipeline = cfg.train_dataloader.dataset.pipeline
        steps = [s for s in pipeline if s.type != 'RandomFlip']
        item = Compose(steps)(acts.dataset.get_data_info(index))
        data = acts.model.data_preprocessor(pseudo_collate([item]), True)
        gt = data['data_samples'][0].gt_instances
        gt = InstanceData(**dict(gt.items()))
        chosen = head.positives(gt, view.meta, view.feats)
        positive = view.training.positive.nonzero()[:, 0]
        assert positive.tolist() == chosen.pixels.tolist()
        learned = view.training.objects[positive]
        assert torch.equal(view.truth.labels[learned], chosen.labels)
        trained += len(positive)
    assert trained > 0
    every = torch.arange(len(view.anchors))
    told = pixels_train(view, every)
    assert [t.positive for t in told] == view.training.positive.tolist()


def test_training_without_objects_or_truth(acts, visit):
    view = visit.view
    nothing = training_of(
        acts.model.mask_head.sampler, view.anchors, torch.zeros(0, 4)
    )
    (told,) = pixels_train(view._replace(training=nothing), torch.tensor([7]))
    assert told == (False, None, 0)
    assert acts.verdict(view, told) == 'negative, overlaps no object'
    assert pixels_train(view._replace(training=None), [1, 2]) == [None] * 2


def test_an_image_is_computed_once(acts, visit, monkeypatch):
    calls = []
    extract = acts.model.extract_feat
    monkeypatch.setattr(
        acts.model,
        'extract_feat',
        lambda *args: calls.append(1) or extract(*args),
    )
    visit, all_of_them, *_ = acts.open_first(0, 0.5)
    _, none_of_them, line, *levels = acts.redraw(visit, 1, 0.5)
    assert line.startswith(
        f'0 of {COUNT} detections shown; image 96 x 96, input'
    )
    assert (all_of_them != none_of_them).any()
    # A mask of everything in the box, and one of nothing
    *_, full = acts.redraw(visit, 1, 0)
    *_, empty = acts.redraw(visit, 1, 1)
    assert (full != empty).mean() > 0.1
    at = gr.SelectData(None, dict(index=[400, 240], value=None))
    clicked = acts.click(visit, 0.5, at)
    assert len(clicked) == 2 + 4 * 5
    assert clicked[0].click == pytest.approx((48, 28.9), abs=0.1)
    assert 'stride 8, row 7, column 12' in clicked[2]
    assert calls == [1]
    with pytest.warns(UserWarning, match='forgotten'):
        assert len(acts.click(None, 0.5, at)) == len(clicked)


def test_gates_or_a_sentence(acts, visit, shapes):
    figure = acts.gate_scores(visit, True)
    titles = [ax.get_title() for ax in figure.axes]
    assert any(title.startswith('P3: score of x1') for title in titles)
    fpn = actions(shapes, CONFIGS / 'sprnet_r18_fpn_shapes.py')
    assert fpn.no_gates == 'FPN has no gates; GFPN does.'
    assert fpn.example(0).merges == []


def test_what_cannot_be_shown_is_said(acts, monkeypatch):
    assert len(acts.notes()) == 2
    monkeypatch.setattr(acts, 'scores_anchors', False)
    assert 'RetinaHead scores no such anchors' in acts.notes()[2]
    retinanet = CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py'
    with pytest.raises(ValueError, match='RetinaNet has no mask head'):
        check(build_model(retinanet))
    with pytest.raises(ValueError, match='RetinaHead are no sigmoids'):
        check(
            build_model(
                **{
                    'bbox_head.loss_cls': dict(
                        type='CrossEntropyLoss', _delete_=True
                    )
                }
            )
        )


def png_of(width, height):
    """A small PNG that says it is of this size."""

    def chunk(kind, content):
        crc = struct.pack('>I', zlib.crc32(kind + content))
        return struct.pack('>I', len(content)) + kind + content + crc

    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', header)
        + chunk(b'IDAT', zlib.compress(bytes(1000)))
        + chunk(b'IEND', b'')
    )


@pytest.fixture(scope='module')
def broken(tmp_path_factory, shapes):
    """Files that are no images of ours, and what is said of each."""
    folder = tmp_path_factory.mktemp('broken')
    image = next((shapes / 'val2017').glob('*.jpg')).read_bytes()
    contents = {
        'text.jpg': (b'no image', 'text.jpg is no image'),
        'empty.png': (b'', 'empty.png is no image'),
        'half.jpg': (image[: len(image) // 2], 'half.jpg is a damaged image'),
        'bomb.png': (png_of(9000, 9000), 'bomb.png has more than the 50,000'),
        'bomb2.png': (png_of(60000, 60000), 'bomb2.png has more than the'),
    }
    said = {}
    for name, (content, words) in contents.items():
        (folder / name).write_bytes(content)
        said[folder / name] = words
    return said


def test_broken_files_are_explained(acts, broken):
    for file, words in broken.items():
        with pytest.warns(UserWarning, match=words):
            said = acts.upload(str(file), 0, 0.5)
        assert len(said) == 3 + 4 * 5


def test_an_image_too_thin_to_be_resized(acts, tmp_path):
    Image.new('RGB', (5000, 1)).save(tmp_path / 'thin.png')
    with pytest.warns(UserWarning, match='cannot be resized for the model'):
        acts.upload(str(tmp_path / 'thin.png'), 0, 0.5)


def test_any_readable_image_is_rgb(tmp_path):
    red = Image.new('RGB', (40, 30), (255, 0, 0))
    for name, mode in (('a.png', 'RGBA'), ('b.png', 'P'), ('c.webp', 'RGB')):
        red.convert(mode).save(tmp_path / name)
        image = read_image(str(tmp_path / name))
        assert image.shape == (30, 40, 3)
        assert abs(image[5, 5].astype(int) - (255, 0, 0)).max() < 6
    red.save(
        tmp_path / 'turned.jpg',
        exif=b'Exif\0\0MM\0*\0\0\0\x08\0\x01'
        b'\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0',
    )
    assert read_image(str(tmp_path / 'turned.jpg')).shape == (40, 30, 3)


def picture(path, height, width):
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3))
    cv2.imwrite(str(path), noise.astype(np.uint8))
    return handle_file(str(path))


def kept():
    """How many images are kept, of all visitors."""
    gc.collect()
    return sum(type(thing) is View for thing in gc.get_objects())


def test_two_visitors_see_their_own(address, broken, tmp_path):
    one, other = (
        Client(address, download_files=False, verbose=False) for _ in range(2)
    )
    small = picture(tmp_path / 'small.png', 60, 80)
    large = picture(tmp_path / 'large.png', 90, 150)
    before = kept()
    line = one.predict(small, 0, 0.5, api_name='/upload')[1]
    assert line.startswith(f'{COUNT} of {COUNT} detections shown; image 80 x')
    for _ in range(2):
        line = other.predict(large, 1, 0.5, api_name='/upload')[1]
        assert line.startswith(f'0 of {COUNT} detections shown; image 150 x')
    assert 'image 80 x 60' in one.predict(0, 0.5, api_name='/redraw')[1]
    assert kept() == before + 2  # the last one of each

    # A third, who comes without an image, sees nobody's.
    other.reset_session()
    assert 'image' not in str(other.predict(0, 0.5, api_name='/redraw')[1])

    bad = handle_file(str(next(iter(broken))))
    assert 'image' not in str(one.predict(bad, 0, 0.5, api_name='/upload')[1])
    assert 'image 80 x 60' in one.predict(0, 0.5, api_name='/redraw')[1]


@pytest.fixture
def listening(monkeypatch):
    """The command up to its page; how that was launched."""
    launched = {}

    def launch(page, **options):
        launched.update(options, page=page)
        return None, 'http://127.0.0.1:7860/', None

    monkeypatch.setattr(gr.Blocks, 'launch', launch)
    monkeypatch.setattr(gr.Blocks, 'block_thread', lambda page: None)

    def call(*arguments):
        argv = ['explorer.py', *map(str, arguments)]
        monkeypatch.setattr(sys, 'argv', argv)
        explorer.main()
        return launched

    return call


@pytest.fixture(scope='module')
def checkpoint(acts, tmp_path_factory):
    """The model's, in a folder as of the demo."""
    path = tmp_path_factory.mktemp('demo') / 'epoch_9.pth'
    meta = dict(dataset_meta=acts.model.dataset_meta)
    torch.save(dict(state_dict=acts.model.state_dict(), meta=meta), path)
    return path


def test_without_arguments_it_opens_the_demo(
    listening, shapes, checkpoint, monkeypatch, capsys
):
    monkeypatch.setattr(demo_model, 'WORK_DIR', checkpoint.parent)
    monkeypatch.setattr(demo_model, 'DATA', shapes)
    with pytest.raises(SystemExit, match='run `make demo` first'):
        listening()
    last = checkpoint.parent / 'last_checkpoint'
    last.write_text('/moved/since/epoch_9.pth')
    options = listening()
    assert options['server_name'] == '127.0.0.1'
    assert options['share'] is False
    assert options['page'].analytics_enabled is False
    assert 'sprnet_r18_gfpn_demo_shapes' in str(options['page'].config)
    assert 'The page is at http://127.0.0.1' in capsys.readouterr().out


def test_wrong_arguments_get_one_sentence(
    listening, shapes, checkpoint, monkeypatch, capsys
):
    data = ['--cfg-options', f'data_root={shapes}']
    retinanet = CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py'
    for arguments, words in (
        ([SHAPES_CONFIG], 'CONFIG needs a CHECKPOINT'),
        ([SHAPES_CONFIG, 'no.pth'], 'no.pth does not exist'),
        ([retinanet, checkpoint, *data], 'has no mask head of type SPRHead'),
        ([SHAPES_CONFIG, checkpoint, '--image-ids', 99, *data], 'no image 99'),
        (['--host', '1.2.3.4'], 'cannot listen at --host 1.2.3.4'),
        (['--port', 99999], 'cannot listen at --host 127.0.0.1 --port 99999'),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            listening(*arguments)
        said = end.value.code
        if said == 2:  # argparse's
            said = capsys.readouterr().err.splitlines()[-1]
        assert words in said and '\n' not in said, said
    monkeypatch.setattr(explorer, 'MISSING', 'gradio')
    with pytest.raises(SystemExit, match='not installed: gradio; pip'):
        listening()


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
