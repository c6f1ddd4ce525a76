"""tools/export.py and tools/onnx_client.py detect what PyTorch detects."""

import io
import json
import logging
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from functools import partial
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from mmengine.structures import InstanceData
from shapes_data.scenes import CLASSES
from support.helpers import (
    BOX_CONFIG,
    CONFIGS,
    ROOT,
    SHAPES_CONFIG,
    build_model,
    read_config,
    sample,
)
from support.in_process import (
    ANY_CHECKPOINT,
    complaint,
    run_command,
    save_checkpoint,
    val_images,
)

from projects.sprnet import DenseMasks, SPRHead

for package in ('onnx', 'onnxscript', 'onnxruntime'):
    pytest.importorskip(package)

from common import demo_model  # noqa: E402
from common.configs import load_config, load_model  # noqa: E402

import export  # noqa: E402
import onnx_client  # noqa: E402
import onnx_export.graph  # noqa: E402
import onnxruntime  # noqa: E402
from onnx_export.compare import (  # noqa: E402
    Difference,
    difference,
    largest_difference,
)
from onnx_export.detector import (  # noqa: E402
    TraceableSPRNet,
    check_exportable,
)

SMALL = {
    'backbone.num_stages': 2,
    'backbone.out_indices': (0, 1),
    'backbone.strides': (1, 2),
    'backbone.dilations': (1, 1),
    'neck.in_channels': [32, 64],
    'neck.start_level': 0,
    'neck.num_outs': 2,
    'bbox_head.anchor_generator.strides': (4, 8),
    'bbox_head.stacked_convs': 0,
    'mask_head.decoder.channels': 8,
}
RTMDET, RTMDET_BOX = (
    CONFIGS / 'other_heads' / f'sprnet_rtmdet-tiny{variant}_shapes.py'
    for variant in ('', '_plus-box')
)
# Both ways of reading features, with the options for two levels
CONFIG_OPTIONS = {
    SHAPES_CONFIG: {
        'mask_head.encoder.channels': (16, 8),
        'mask_head.encoder.kernels': (1, 3),
        'mask_head.encoder.dilations': (1, 2),
    },
    BOX_CONFIG: {
        'mask_head.encoder.out_channels': 24,
        'mask_head.encoder.strides': (4, 8),
        'mask_head.frame': 1.2,
    },
}


def untrained_model(std, config=SHAPES_CONFIG, **options):
    """Build a model whose scores depend on the image, by a spread of std."""
    model = build_model(config, **options).eval()
    torch.manual_seed(2)
    head = model.bbox_head
    if config in (RTMDET, RTMDET_BOX):
        spread_rtmdet(model)
    else:
        torch.nn.init.normal_(head.retina_cls.weight, std=std)
    torch.nn.init.normal_(model.mask_head.decoder.classifier.weight, std=0.5)
    return model


@torch.no_grad()
def spread_rtmdet(model):
    """Spread its scores and sides as if they were learned."""
    head = model.bbox_head
    for layer in head.rtm_cls:
        layer.bias.zero_()
    scores, _ = head(model.extract_feat(torch.randn(1, 3, 96, 128)).levels)
    for level, cls, reg in zip(scores, head.rtm_cls, head.rtm_reg):
        cls.weight.mul_(1.5 / level.std())
        reg.weight.mul_(0.2 / level.std())
        torch.nn.init.constant_(cls.bias, -3)


@pytest.fixture(
    scope='module', params=CONFIG_OPTIONS, ids=['locations', 'boxes']
)
def config(request):
    return request.param


@pytest.fixture(scope='module')
def small(config):
    """Options of a small model."""
    return {**SMALL, **CONFIG_OPTIONS[config]}


@pytest.fixture(scope='module')
def checkpoint(config, small, tmp_path_factory):
    file = tmp_path_factory.mktemp('checkpoints') / 'untrained.pth'
    model = untrained_model(0.03, config, **small)
    return save_checkpoint(model, file)


@pytest.fixture(scope='module')
def options(small, shapes):
    """The same as arguments, with the small data set."""
    model = [f'model.{k}={v}'.replace(' ', '') for k, v in small.items()]
    return ['--cfg-options', f'data_root={shapes}', *model]


@pytest.fixture(scope='module')
def exported(config, checkpoint, options, tmp_path_factory):
    """The file that the command writes, and what it prints."""
    file = tmp_path_factory.mktemp('onnx') / 'folder' / 'model.onnx'
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        # pytest would keep the large traces of torch.
        patch.setattr(logging.getLogger('torch.__trace'), 'handlers', [])
        # The config's run lengths must not change the comparison.
        rle = 'model.mask_head.mask_output.type=RLEMasks'
        arguments = ['--number', 3, '--time', 1, *options, rle]
        run_command(export, config, checkpoint, file, *arguments)
    return SimpleNamespace(file=file, printed=printed.getvalue())


@pytest.fixture(scope='module')
def session(exported):
    return onnxruntime.InferenceSession(exported.file)


@pytest.fixture(scope='module')
def detector(config, small, checkpoint, shapes):
    options = {f'model.{key}': value for key, value in small.items()}
    config = load_config(config, dict(options, data_root=str(shapes)))
    return load_model(config, checkpoint, 'cpu')


def predictions(detector, images, image_shapes):
    """Predict a batch in PyTorch, at the size of the input."""
    samples = []
    for shape in image_shapes.tolist():
        samples.append(sample([], [], tuple(shape)))
        samples[-1].set_metainfo(dict(batch_input_shape=images.shape[2:]))
    with torch.no_grad():
        samples = detector.predict(images, samples, rescale=False)
    return [result.pred_instances for result in samples]


def assert_same(detector, outputs, expected, image_shapes, min_iou=0.99):
    """Check that a graph's outputs are the expected detections."""
    image_index, boxes, scores, labels, maps = map(np.asarray, outputs)
    assert sorted(image_index) == image_index.tolist()
    for n, (instances, shape) in enumerate(zip(expected, image_shapes)):
        of_image = image_index == n
        frames = detector.mask_head.frames(torch.tensor(boxes[of_image]))
        (masks,) = DenseMasks()(
            torch.tensor(maps[of_image]), [frames], [shape.tolist()], 0.5
        )
        result = difference(
            (
                boxes[of_image],
                scores[of_image],
                labels[of_image],
                masks.numpy(),
            ),
            instances,
        )
        assert (result.detections, result.alone) == (len(instances), 0)
        assert result.box < 1e-2
        assert result.score < 1e-5
        assert result.mask_iou > min_iou


@pytest.mark.parametrize(
    'shapes_of_images',
    [
        [(96, 96)],
        [(64, 160), (60, 130), (33, 160)],  # not square, padded
        [(41, 77)],  # a size that no stride divides
        [(192, 256), (192, 256)],
    ],
)
def test_batches_and_sizes(session, detector, shapes_of_images):
    image_shapes = torch.tensor(shapes_of_images)
    torch.manual_seed(0)
    images = torch.zeros(len(image_shapes), 3, *image_shapes.amax(0).tolist())
    for image, (height, width) in zip(images, shapes_of_images):
        image[:, :height, :width] = torch.randn(3, height, width)
    expected = predictions(detector, images, image_shapes)
    assert all(len(instances) > 5 for instances in expected)
    inputs = dict(images=images.numpy(), image_shapes=image_shapes.numpy())
    outputs = session.run(None, inputs)
    # Untrained features in a grid hardly vary, so that normalisation enlarges
    # rounding errors: one pixel of a mask of 40 may change.
    min_iou = 0.97 if detector.mask_head.encoder.fine_channels else 0.99
    assert_same(detector, outputs, expected, image_shapes, min_iou)


def test_images_without_detections(session, detector):
    images = torch.zeros(2, 3, 64, 96)
    image_shapes = torch.tensor([[64, 96]] * 2)
    inputs = dict(images=images.numpy(), image_shapes=image_shapes.numpy())
    shapes = [output.shape for output in session.run(None, inputs)]
    assert shapes == [(0,), (0, 4), (0,), (0,), (0, 32, 32)]
    images[1] = torch.randn(3, 64, 96)
    expected = predictions(detector, images, image_shapes)
    assert len(expected[0]) == 0 < len(expected[1])
    outputs = session.run(None, inputs)
    assert_same(detector, outputs, expected, image_shapes)


@pytest.mark.parametrize(
    'config,options',
    [
        (CONFIGS / 'sprnet_r18_fpn_shapes.py', {}),
        (SHAPES_CONFIG, {'mask_head.decoder.type': 'SinglePixelDecoder'}),
        (
            CONFIGS / 'mask_branch' / 'sprnet_r18_gfpn_c33x4_shapes.py',
            {'test_cfg.max_per_img': 7, 'test_cfg.nms_pre': 50},
        ),
        (RTMDET, {}),
        (RTMDET_BOX, {}),
    ],
)
def test_what_is_traced_is_the_model(config, options):
    model = untrained_model(0.06, config, **options)
    torch.manual_seed(0)
    images = torch.randn(2, 3, 96, 128)
    image_shapes = torch.tensor([[96, 128], [90, 100]])
    expected = predictions(model, images, image_shapes)
    assert all(len(instances) > 5 for instances in expected)
    with torch.no_grad():
        outputs = TraceableSPRNet(model)(images, image_shapes)
    assert_same(model, outputs, expected, image_shapes)


class TracedSession:
    """What onnxruntime would do with a detector's file, in PyTorch."""

    def __init__(self, detector):
        self.module = TraceableSPRNet(detector)
        meta = onnx_export.graph.metadata(detector, detector.cfg)
        self.meta = SimpleNamespace(
            custom_metadata_map=dict(sprnet=json.dumps(meta))
        )

    def get_modelmeta(self):
        return self.meta

    @torch.no_grad()
    def run(self, _, inputs):
        inputs = {k: torch.tensor(np.array(v)) for k, v in inputs.items()}
        return [output.numpy() for output in self.module(**inputs)]


def test_the_client_pads_as_rtmdets_pipeline(shapes, tmp_path):
    """RTMDet pads images before it normalises them, and takes the padding
    for a part of the image."""
    model = untrained_model(0, RTMDET_BOX)
    model.dataset_meta = dict(classes=CLASSES, palette=[(1, 2, 3)] * 6)
    coco = read_config(RTMDET.with_name('sprnet_rtmdet-tiny_300e_coco.py'))
    pipeline = coco.test_dataloader.dataset.pipeline
    model.cfg = read_config(RTMDET_BOX)
    model.cfg.test_dataloader.dataset.pipeline = pipeline
    pipeline[1].scale, pipeline[2].size = (96, 96), (128, 160)
    (image, *_) = val_images(shapes)
    wide = cv2.imread(str(image))[:60]
    file = tmp_path / 'wide.png'
    cv2.imwrite(str(file), wide)
    results = export.compare(model, TracedSession(model), [image, file])
    assert all(r.detections > 5 and r.tolerable() for r in results)
    pipeline[2].size = None
    with pytest.raises(ValueError, match="a Pad with a size; it has .*'Pad'"):
        onnx_export.graph.metadata(model, model.cfg)


def test_the_command_prints_the_comparison(exported):
    (count,) = re.findall(r'3 images, (\d+) detections: .*', exported.printed)
    assert int(count) > 15
    assert f'written to {exported.file}' in exported.printed
    assert re.search(
        r'an image takes [\d.]+ s, with PyTorch', exported.printed
    )


def test_metadata(session, exported, detector):
    meta = json.loads(session.get_modelmeta().custom_metadata_map['sprnet'])
    assert meta['classes'] == list(CLASSES)
    assert meta['scale'] == [192, 192] and meta['bgr_to_rgb'] is True
    assert meta['mean'] == [123.675, 116.28, 103.53]
    assert meta['score_thr'] == 0.05 and meta['mask_thr_binary'] == 0.5
    assert meta['frame'] == detector.mask_head.frame
    assert str(ROOT).encode() not in exported.file.read_bytes()


def test_client_needs_neither_torch_nor_mmdet(
    exported, session, detector, shapes, tmp_path
):
    image, out = shapes / 'val2017' / '000000000002.jpg', tmp_path / 'a.png'
    blocked = ('torch', 'mmdet', 'mmcv', 'mmengine', 'pycocotools', 'onnx')
    program = (
        'import runpy, sys\n'
        f'sys.modules.update(dict.fromkeys({blocked}))\n'
        'sys.argv.pop(0)\n'
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    client = ROOT / 'tools' / 'onnx_client.py'
    arguments = [client, exported.file, image, out]
    subprocess.run([sys.executable, '-c', program, *arguments], check=True)
    pixels = cv2.imread(str(image))
    instances = inference_detector(detector, str(image)).pred_instances
    meta = onnx_client.metadata(session)
    expected = pixels.copy()
    onnx_client.draw(expected, meta, *arrays(instances))
    drawn = cv2.imread(str(out))
    assert (drawn != pixels).any(axis=2).mean() > 0.01
    assert (drawn != expected).any(axis=2).mean() < 0.001


def test_a_file_with_other_results_is_not_accepted(
    exported, config, checkpoint, options, monkeypatch, tmp_path
):
    def invert_masks(*arguments):
        *others, masks = onnx_client.detect(*arguments)
        return *others, ~masks

    out = tmp_path / 'copy.onnx'
    copy = partial(shutil.copy, exported.file, out)
    monkeypatch.setattr(export, 'export', lambda *_: copy())
    monkeypatch.setattr(export, 'detect', invert_masks)
    arguments = (config, checkpoint, out, '--number', 1, *options)
    message = complaint(export, *arguments)
    assert f'{out} is written, but' in message and out.exists()
    assert re.search(r'first for \S*val2017\S*.jpg, by more than', message)


def detections(count=2):
    boxes = torch.tensor([[0.0, 0, 20, 20], [30, 30, 60, 50]])[:count]
    masks = torch.zeros(count, 60, 60, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist()):
        mask[y1:y2, x1:x2] = True
    return InstanceData(
        bboxes=boxes,
        scores=torch.tensor([0.9, 0.8])[:count],
        labels=torch.tensor([1, 0])[:count],
        masks=masks,
    )


def arrays(instances):
    names = ('bboxes', 'scores', 'labels', 'masks')
    return tuple(instances[name].numpy().copy() for name in names)


def test_difference_is_the_largest_of_any_detection():
    boxes, scores, labels, masks = arrays(detections())
    same = difference((boxes, scores, labels, masks), detections())
    assert same == (2, 0, 0, 1, 0)
    masks[1, 30, 30:32] = False  # decided by rounding
    assert difference((boxes, scores, labels, masks), detections()) == same
    boxes[1, 2] += 0.25
    scores[0] += 0.125
    masks[1, 30:35] = False
    swapped = tuple(x[::-1] for x in (boxes, scores, labels, masks))
    other = difference(swapped, detections())
    assert other == pytest.approx((2, 0.25, 0.125, 452 / 600, 0))
    assert not other.tolerable()
    for field, good, bad in (
        ('box', 0.1, 0.11),
        ('score', 1e-3, 2e-3),
        ('mask_iou', 0.99, 0.98),
    ):
        assert same._replace(**{field: good}).tolerable()
        assert not same._replace(**{field: bad}).tolerable()


def test_detections_of_one_result_only():
    boxes, scores, labels, masks = arrays(detections())
    for found, expected, count, alone in (
        (arrays(detections(1)), detections(), 1, 1),
        (arrays(detections()), detections(1), 1, 1),
        (arrays(detections(0)), detections(), 0, 2),
        (arrays(detections()), detections(0), 0, 2),
        (arrays(detections(0)), detections(0), 0, 0),
        ((boxes, scores, labels + 2, masks), detections(), 0, 4),
        ((boxes[[0, 0]], scores, labels[[0, 0]], masks), detections(), 1, 2),
    ):
        result = difference(found, expected)
        assert (result.detections, result.alone) == (count, alone)
        assert result.tolerable() == (alone == 0)


def test_one_of_a_hundred_detections_may_be_in_one_result_only():
    few, most = Difference(99, 0, 0, 1, 1), Difference(100, 0, 0, 1, 1)
    assert not few.tolerable() and most.tolerable()
    assert str(most).endswith('; in one result only: 1')
    all_images = largest_difference([few, most, few])
    assert all_images == (298, 0, 0, 1, 3) and not all_images.tolerable()


def test_another_mask_head_is_refused():
    class Other(SPRHead):
        pass

    model = build_model()
    model.mask_head.__class__ = Other
    with pytest.raises(ValueError, match='mask_head.type=Other .* SPRHead'):
        check_exportable(model)


SOFTMAX = dict(type='CrossEntropyLoss', _delete_=True)


@pytest.mark.parametrize(
    'config,options,message',
    [
        (
            CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py',
            {},
            'model.type=RetinaNet .* SPRNet',
        ),
        (
            CONFIGS / 'other_heads' / 'sprnet_fcos_r50_fpn_1x_coco.py',
            {},
            'bbox_head.type=FCOSHead .* RetinaHead or RTMDetHead',
        ),
        (SHAPES_CONFIG, {'test_cfg.nms.type': 'soft_nms'}, "'soft_nms'"),
        (SHAPES_CONFIG, {'test_cfg.min_bbox_size': 4}, 'min_bbox_size=4'),
        (SHAPES_CONFIG, {'test_cfg.nms_pre': 0}, 'nms_pre=0'),
        (SHAPES_CONFIG, {'bbox_head.loss_cls': SOFTMAX}, 'loss_cls.type='),
    ],
)
def test_what_is_not_exported(config, options, message):
    with pytest.raises(ValueError, match=message):
        check_exportable(build_model(config, **options))


def test_the_first_error_of_torch_is_reported(detector, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise torch.onnx.OnnxExporterError('step 1\na page') from KeyError('q')

    monkeypatch.setattr(torch.onnx, 'export', fail)
    with pytest.raises(ValueError, match="torch.onnx.export .*: 'q'$"):
        onnx_export.graph.export(detector, detector.cfg, tmp_path / 'a.onnx')


def test_wrong_input_ends_in_a_sentence(
    config, checkpoint, options, monkeypatch, tmp_path
):
    error = partial(complaint, export)
    out = tmp_path / 'model.onnx'
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo_model, 'WORK_DIR', tmp_path)
    assert 'run `make demo` first' in error()
    assert 'CONFIG needs a CHECKPOINT' in error(config, *options)
    assert 'nowhere.pth does not exist' in error(config, 'nowhere.pth')
    text = tmp_path / 'text.jpg'
    text.write_text('no image')
    words = config, checkpoint, out, '--images', text, *options
    assert f'--images: cannot be read as images: {text}' in error(*words)
    words = config, checkpoint, out, *options
    resize = 'test_dataloader.dataset.pipeline.1.keep_ratio=False'
    assert 'Resize with keep_ratio=True' in error(*words, resize)
    classes = 'model.bbox_head.num_classes=5'
    assert f'names 6 classes, but {classes}' in error(
        *words, classes, ANY_CHECKPOINT
    )
    monkeypatch.setattr(export, 'MISSING', ['onnx'])
    assert 'not installed: onnx; pip install -r' in error(*words)
    assert not out.exists()


@pytest.mark.parametrize(
    'number,word,message',
    [
        (1, 'gone.onnx', 'MODEL.onnx: gone.onnx'),
        (2, __file__, 'IMAGE: .*test_export.py is not an image'),
        (3, 'nowhere/out.png', 'OUT_IMAGE: nowhere/out.png'),
        (3, 'out.nothing', 'OUT_IMAGE: out.nothing must end in .png'),
        (3, 'out', 'OUT_IMAGE: out must end in .png'),
        (3, None, 'MODEL.onnx IMAGE OUT_IMAGE'),
    ],
)
def test_client_ends_in_a_sentence(
    number, word, message, exported, shapes, monkeypatch
):
    image = shapes / 'val2017' / '000000000001.jpg'
    words = ['onnx_client.py', str(exported.file), str(image), 'out.png']
    words[number : number + 1] = [word] if word else []
    monkeypatch.setattr('sys.argv', words)
    with pytest.raises(SystemExit, match=message):
        onnx_client.main()
