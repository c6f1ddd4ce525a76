"""tools/export.py and its client: do they detect what PyTorch does?"""

import io
import json
import logging
import re
import subprocess
import sys
from contextlib import redirect_stdout
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
    sample,
)

from projects.sprnet import SPRHead
from projects.sprnet.pasting import paste_masks

for package in ('onnx', 'onnxscript', 'onnxruntime'):
    pytest.importorskip(package)

import export  # noqa: E402
import onnx  # noqa: E402
import onnx_client  # noqa: E402
import onnx_export.graph  # noqa: E402
import onnxruntime  # noqa: E402
from common import demo_model  # noqa: E402
from common.configs import load_config, load_model  # noqa: E402
from onnx_export.compare import difference  # noqa: E402
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
# Both ways of reading, and what each needs for two levels
READING = {
    SHAPES_CONFIG: {
        'mask_head.encoder.channels': (16, 8),
        'mask_head.encoder.kernels': (1, 3),
        'mask_head.encoder.dilations': (1, 2),
    },
    BOX_CONFIG: {
        'mask_head.encoder.out_channels': 24,
        'mask_head.encoder.finest_scale': 20,
        'mask_head.encoder.strides': (4, 8),
        'mask_head.frame': 1.2,
    },
}


def lively(std, config=SHAPES_CONFIG, **options):
    """A model whose untrained scores depend on the image."""
    model = build_model(config, **options).eval()
    torch.manual_seed(2)
    torch.nn.init.normal_(model.bbox_head.retina_cls.weight, std=std)
    torch.nn.init.normal_(model.mask_head.decoder.classifier.weight, std=0.5)
    return model


def call(monkeypatch, *words):
    """Run the tool with these arguments."""
    monkeypatch.setattr('sys.argv', ['export.py', *map(str, words)])
    export.main()


@pytest.fixture(scope='module', params=READING, ids=['pixels', 'boxes'])
def config(request):
    return request.param


@pytest.fixture(scope='module')
def small(config):
    """The options of a small model."""
    return {**SMALL, **READING[config]}


@pytest.fixture(scope='module')
def checkpoint(config, small, tmp_path_factory):
    file = tmp_path_factory.mktemp('checkpoints') / 'lively.pth'
    model = lively(0.03, config, **small)
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), file)
    return file


@pytest.fixture(scope='module')
def options(small, shapes):
    """The tool's options for the small model and the small data."""
    words = [f'model.{k}={v}'.replace(' ', '') for k, v in small.items()]
    return ['--cfg-options', f'data_root={shapes}', *words]


@pytest.fixture(scope='module')
def exported(config, checkpoint, options, tmp_path_factory):
    """The file that the tool wrote, and what it said."""
    file = tmp_path_factory.mktemp('onnx') / 'folder' / 'model.onnx'
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        # Of torch's traces, which pytest would keep
        patch.setattr(logging.getLogger('torch.__trace'), 'handlers', [])
        # Run lengths are a choice of the config that the file does not know.
        rle = 'model.mask_head.mask_output.type=RLEMasks'
        words = ['--number', 3, '--time', 1, *options, rle]
        call(patch, config, checkpoint, file, *words)
    return SimpleNamespace(file=file, said=said.getvalue())


@pytest.fixture(scope='module')
def session(exported):
    return onnxruntime.InferenceSession(exported.file)


@pytest.fixture(scope='module')
def detector(config, small, checkpoint, shapes):
    options = {f'model.{key}': value for key, value in small.items()}
    config = load_config(config, dict(options, data_root=str(shapes)))
    return load_model(config, checkpoint, 'cpu')


def predictions(detector, images, image_shapes):
    """PyTorch's, of a batch at its own size; the reference of all."""
    samples = []
    for shape in image_shapes.tolist():
        samples.append(sample([], [], tuple(shape)))
        samples[-1].set_metainfo(dict(batch_input_shape=images.shape[2:]))
    with torch.no_grad():
        found = detector.predict(images, samples, rescale=False)
    return [one.pred_instances for one in found]


def assert_same(
    outputs, expected, image_shapes, frames=lambda boxes: boxes, least=0.99
):
    """A graph's outputs are the detections of each image."""
    image_index, boxes, scores, labels, maps = map(np.asarray, outputs)
    assert sorted(image_index) == image_index.tolist()
    for n, (theirs, shape) in enumerate(zip(expected, image_shapes)):
        of_image = image_index == n
        masks = paste_masks(
            torch.tensor(maps[of_image]),
            frames(torch.tensor(boxes[of_image])),
            *shape.tolist(),
            0.5,
        ).numpy()
        ours = boxes[of_image], scores[of_image], labels[of_image], masks
        found = difference(ours, theirs)
        assert found.detections == len(theirs)
        assert found.box < 1e-2
        assert found.score < 1e-5
        assert found.mask_iou > least


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
    assert all(len(one) > 5 for one in expected)
    inputs = dict(images=images.numpy(), image_shapes=image_shapes.numpy())
    outputs = session.run(None, inputs)
    # Untrained, what a grid reads hardly varies, and normalisation enlarges
    # the last bits: one pixel of a mask of 40 may change.
    least = 0.97 if detector.mask_head.encoder.fine_channels else 0.99
    frames = detector.mask_head.frames
    assert_same(outputs, expected, image_shapes, frames, least)


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
    frames = detector.mask_head.frames
    assert_same(outputs, expected, image_shapes, frames)


@pytest.mark.parametrize(
    'config,options',
    [
        (CONFIGS / 'sprnet_r18_fpn_shapes.py', {}),
        (SHAPES_CONFIG, {'mask_head.decoder.type': 'SinglePixelDecoder'}),
        (
            CONFIGS / 'mask_branch' / 'sprnet_r18_gfpn_c33x4_shapes.py',
            {'test_cfg.max_per_img': 7, 'test_cfg.nms_pre': 50},
        ),
    ],
)
def test_what_is_traced_is_the_model(config, options):
    model = lively(0.06, config, **options)
    torch.manual_seed(0)
    images = torch.randn(2, 3, 96, 128)
    image_shapes = torch.tensor([[96, 128], [90, 100]])
    expected = predictions(model, images, image_shapes)
    assert all(len(one) > 5 for one in expected)
    with torch.no_grad():
        outputs = TraceableSPRNet(model)(images, image_shapes)
    assert_same(outputs, expected, image_shapes)


def test_the_tool_says_what_it_compared(exported, shapes):
    (line,) = re.findall(r'3 images, (\d+) detections: .*', exported.said)
    assert int(line) > 15
    assert f'written to {exported.file}' in exported.said
    assert re.search(r'an image takes [\d.]+ s, with PyTorch', exported.said)


def test_metadata(session, exported, detector):
    meta = json.loads(session.get_modelmeta().custom_metadata_map['sprnet'])
    assert meta['classes'] == list(CLASSES)
    assert meta['scale'] == [192, 192] and meta['bgr_to_rgb'] is True
    assert meta['mean'] == [123.675, 116.28, 103.53]
    assert meta['score_thr'] == 0.05 and meta['mask_thr_binary'] == 0.5
    assert meta['frame'] == detector.mask_head.frame
    assert str(ROOT).encode() not in exported.file.read_bytes()


def test_client_needs_neither_torch_nor_mmdet(
    exported, detector, shapes, tmp_path
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
    words = [client, exported.file, image, out]
    subprocess.run([sys.executable, '-c', program, *words], check=True)
    pixels = cv2.imread(str(image))
    found = inference_detector(detector, str(image)).pred_instances
    theirs = [
        found[name].numpy() for name in ('bboxes', 'scores', 'labels', 'masks')
    ]
    meta = onnx_client.metadata(onnxruntime.InferenceSession(exported.file))
    expected = pixels.copy()
    onnx_client.draw(expected, meta, *theirs)
    drawn = cv2.imread(str(out))
    assert (drawn != pixels).any(axis=2).mean() > 0.01
    assert (drawn != expected).any(axis=2).mean() < 0.001


def refusal(monkeypatch, capsys, *words):
    """What the tool ends with."""
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, *words)
    assert stop.value.code not in (0, None)
    return capsys.readouterr().err + str(stop.value.code)


def test_a_file_of_other_weights_is_not_accepted(
    exported, config, checkpoint, options, monkeypatch, capsys, tmp_path
):
    def spoiled(detector, config, path):
        """The exported file with masks turned inside out."""
        model = onnx.load(exported.file)
        (last,) = (node for node in model.graph.node if 'masks' in node.output)
        last.output[0] = 'inverse'
        one = onnx.helper.make_tensor('one', onnx.TensorProto.FLOAT, [], [1])
        model.graph.initializer.append(one)
        model.graph.node.append(
            onnx.helper.make_node('Sub', ['one', 'inverse'], ['masks'])
        )
        onnx.save(model, path)

    monkeypatch.setattr(onnx_export.graph, 'export', spoiled)
    out = tmp_path / 'spoiled.onnx'
    words = (config, checkpoint, out, '--number', '1', *options)
    message = refusal(monkeypatch, capsys, *words)
    assert f'{out} is written, but' in message and out.exists()


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


def arrays(found):
    names = ('bboxes', 'scores', 'labels', 'masks')
    return tuple(found[name].numpy().copy() for name in names)


def test_difference_is_the_greatest_of_any_detection():
    boxes, scores, labels, masks = arrays(detections())
    assert difference((boxes, scores, labels, masks), detections()) == (
        2,
        0,
        0,
        1,
    )
    boxes[1, 2] += 0.25
    scores[0] += 0.125
    masks[1, 30:35] = False
    swapped = tuple(x[::-1] for x in (boxes, scores, labels, masks))
    found = difference(swapped, detections())
    assert found == pytest.approx((2, 0.25, 0.125, 0.75))
    assert not found.tolerable()
    for good, field, bad in (
        (0.1, 'box', 0.11),
        (1e-3, 'score', 2e-3),
        (0.99, 'mask_iou', 0.98),
    ):
        same = found._replace(box=0, score=0, mask_iou=1)
        assert same._replace(**{field: good}).tolerable()
        assert not same._replace(**{field: bad}).tolerable()


def test_other_objects_are_no_difference_but_an_error():
    with pytest.raises(ValueError, match='1 detections, and PyTorch 2'):
        difference(arrays(detections(1)), detections())
    boxes, scores, labels, masks = arrays(detections())
    with pytest.raises(ValueError, match='other detections'):
        difference((boxes, scores, labels + 2, masks), detections())
    with pytest.raises(ValueError, match='other detections'):
        boxes[:], labels[:] = boxes[0], 1
        difference((boxes, scores, labels, masks), detections())
    assert difference(arrays(detections(0)), detections(0)).detections == 0


def test_another_mask_head_is_refused():
    class Other(SPRHead):
        pass

    model = build_model()
    model.mask_head.__class__ = Other
    with pytest.raises(ValueError, match='type=Other is not exported'):
        check_exportable(model)


@pytest.mark.parametrize(
    'config,options,complaint',
    [
        (
            CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py',
            {},
            'type=RetinaNet is not exported, SPRNet is',
        ),
        (
            CONFIGS / 'other_heads' / 'sprnet_fcos_r50_fpn_1x_coco.py',
            {},
            'bbox_head.type=FCOSHead is not exported, RetinaHead is',
        ),
        (
            SHAPES_CONFIG,
            {'test_cfg.nms.type': 'soft_nms'},
            "'type': 'soft_nms'.* is not exported",
        ),
        (SHAPES_CONFIG, {'test_cfg.min_bbox_size': 4}, 'min_bbox_size'),
        (
            SHAPES_CONFIG,
            {
                'bbox_head.loss_cls': dict(
                    type='CrossEntropyLoss', _delete_=True
                )
            },
            'loss_cls.type=',
        ),
    ],
)
def test_what_is_not_exported(config, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        check_exportable(build_model(config, **options))


def test_what_pytorch_does_not_export(detector, monkeypatch, tmp_path):
    def give_up(*args, **kwargs):
        raise torch.onnx.OnnxExporterError('step 1\na page') from KeyError('q')

    monkeypatch.setattr(torch.onnx, 'export', give_up)
    with pytest.raises(ValueError, match="know this model: 'q'$"):
        onnx_export.graph.export(detector, detector.cfg, tmp_path / 'a.onnx')


def test_wrong_input_ends_in_a_sentence(
    config, checkpoint, options, shapes, monkeypatch, capsys, tmp_path
):
    def said(*words):
        return refusal(monkeypatch, capsys, *words, *options)

    out = tmp_path / 'model.onnx'
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo_model, 'WORK_DIR', tmp_path)
    assert 'run `make demo` first' in refusal(monkeypatch, capsys)
    assert 'CONFIG needs a CHECKPOINT' in said(config)
    assert 'nowhere.pth does not exist' in said(config, 'nowhere.pth')
    text = tmp_path / 'text.jpg'
    text.write_text('no image')
    words = config, checkpoint, out, '--images', text
    assert f'no images: {text}' in said(*words)
    words = (config, checkpoint, out, *options)
    resize = 'test_dataloader.dataset.pipeline.1.keep_ratio=False'
    found = refusal(monkeypatch, capsys, *words, resize)
    assert 'only with a Resize of keep_ratio=True' in found
    found = refusal(
        monkeypatch, capsys, *words, 'model.bbox_head.num_classes=5'
    )
    assert 'names 6 classes, but model.bbox_head.num_classes=5' in found
    monkeypatch.setattr(export, 'MISSING', 'onnx')
    found = said(config, checkpoint, out)
    assert 'not installed: onnx; pip install -r' in found
    assert not out.exists()


@pytest.mark.parametrize(
    'number,word,complaint',
    [
        (1, 'gone.onnx', 'gone.onnx is no file'),
        (2, __file__, 'test_export.py is no image'),
        (3, 'nowhere/out.png', 'nowhere/out.png cannot be written'),
        (3, None, 'MODEL.onnx IMAGE OUT_IMAGE'),
    ],
)
def test_client_ends_in_a_sentence(
    number, word, complaint, exported, shapes, monkeypatch
):
    image = shapes / 'val2017' / '000000000001.jpg'
    words = ['onnx_client.py', str(exported.file), str(image), 'out.png']
    words[number : number + 1] = [word] if word else []
    monkeypatch.setattr('sys.argv', words)
    with pytest.raises(SystemExit, match=complaint):
        onnx_client.main()
