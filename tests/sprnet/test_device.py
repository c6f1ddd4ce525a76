"""Every model on a pretended GPU: no tensor of another device, few waits."""

import copy
from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.hub import get_config
from mmengine.structures import InstanceData
from onnx_export.detector import TraceableSPRNet
from support.helpers import (
    BOX_CONFIG,
    CONFIGS,
    OBJECTS,
    SHAPES_CONFIG,
    build_model,
    pyramid,
    read_config,
    sample,
)
from support.simulated_device import DeviceOperators, simulated_device

from projects.sprnet import GFPN, DenseMasks, PooledGFPN, RLEMasks, pasting
from projects.sprnet.structures import Features

SIZE = (128, 128)
BRANCH = CONFIGS / 'mask_branch'
AT_BOXES = {
    'mask_head.sampler': dict(_delete_=True, type='JitteredBoxSampler'),
    'mask_head.encoder': dict(_delete_=True, type='BoxGrid'),
}
ATSS, FCOS, GFL = (
    CONFIGS / 'other_heads' / f'sprnet_{head}_r50_fpn_1x_coco.py'
    for head in ('atss', 'fcos', 'gfl')
)
# Config and options of each model
CASES = {
    'MultiScaleFusion': (SHAPES_CONFIG, {}),
    'ConsecutiveConvs': (BRANCH / 'sprnet_r18_gfpn_c33x4_shapes.py', {}),
    'no shortcut': (BRANCH / 'sprnet_r18_gfpn_no-shortcut_shapes.py', {}),
    'every object': (
        CONFIGS / 'plus' / 'sprnet_r18_gfpn_plus-every-object_shapes.py',
        {},
    ),
    'BoxGrid': (BOX_CONFIG, {'mask_head.encoder.fine_channels': 8}),
    'wider frames': (SHAPES_CONFIG, {**AT_BOXES, 'mask_head.frame': 1.2}),
    'frozen': (
        CONFIGS / 'frozen_detector' / 'sprnet_r18_fpn_frozen_shapes.py',
        {},
    ),
    'ATSSHead': (ATSS, {}),
    'GFLHead': (GFL, {}),
    'FCOSHead': (FCOS, {}),
    'FCOSHead, BoxGrid': (FCOS, AT_BOXES),
}
SMALL = {
    'backbone.depth': 18,
    'backbone.base_channels': 8,
    'backbone.style': 'pytorch',
    'neck.in_channels': [8, 16, 32, 64],
    'neck.out_channels': 64,
    'bbox_head.in_channels': 64,
    'bbox_head.feat_channels': 64,
    'bbox_head.num_classes': 6,
    'test_cfg.score_thr': 0.0,
    'test_cfg.nms_pre': 200,
    'test_cfg.min_bbox_size': -1,  # how often it waits depends on the boxes
}
BACKBONE = list(SMALL)[:4]  # and its channels
# Waits of two pictures beyond those of the stock detector. In training, five
# are those of AnchorGenerator, which keeps the anchors of a level on the CPU.
PREDICT, RLE, TRAIN = 0, 4, 9


def small(case):
    config, options = CASES[case]
    decoder = {'mask_head.decoder.channels': 16}
    return build_model(config, **SMALL, **decoder, **options)


@cache
def stock_waits(config, run):
    """The waits of a config's detector without its masks."""
    cfg = read_config(config)
    cfg.merge_from_dict({f'model.{k}': v for k, v in SMALL.items()})
    cfg.model.pop('mask_head')
    cfg.model.update(type='SingleStageDetector')
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    with simulated_device() as waits:
        waits_of_stock = counted(run, model.to('lazy'), waits)[1]
    assert len(waits_of_stock) > 10
    return waits_of_stock


def inputs(model):
    torch.manual_seed(1)
    images = torch.randn(2, 3, *SIZE)
    samples = [sample(OBJECTS, [0, 1, 2]), sample(OBJECTS[1:2], [3])]
    device = next(model.parameters()).device
    return images.to(device), [s.to(device) for s in samples]


def predict(model, data):
    with torch.no_grad():
        return [s.pred_instances for s in model.eval().predict(*data)]


def train(model, data):
    """The sum of the losses, after their gradients."""
    losses = model.train().loss(*data)
    total = model.parse_losses(losses)[0]
    total.backward()
    return total


def counted(run, model, waits):
    """The result and the waits of ``run``."""
    data = inputs(model)
    waits.clear()
    return run(model, data), waits[:]


def assert_few(waits, stock, most):
    listed = '\n'.join(map(str, waits))
    assert len(waits) <= len(stock) + most, listed


@pytest.mark.parametrize('case', CASES)
def test_a_model_works_on_the_device_and_hardly_waits(case):
    model, config = small(case), CASES[case][0]
    torch.nn.init.normal_(model.mask_head.decoder.classifier.weight)
    expected = predict(model, inputs(model))
    torch.manual_seed(2)
    loss = train(copy.deepcopy(model), inputs(model)).item()
    with simulated_device() as waits:
        model.to('lazy')
        found, when_predicting = counted(predict, model, waits)
        model.mask_head.mask_output = RLEMasks()
        runs, with_runs = counted(predict, model, waits)
        torch.manual_seed(2)
        total, when_training = counted(train, model, waits)
        tensors = [p.grad for p in model.parameters() if p.requires_grad]
        tensors += [one[k] for one in found for k in ('bboxes', 'masks')]
        assert {x.device.type for x in tensors} == {'lazy'}
        assert total.item() == pytest.approx(loss, rel=1e-5)
        found = [one.cpu() for one in found]
    for one, rle, wanted in zip(found, runs, expected):
        assert len(one) == len(rle.masks) > 10  # depends on the CPU
        for field in ('bboxes', 'scores', 'labels'):
            assert torch.equal(one[field], wanted[field])
        assert (one.masks != wanted.masks).float().mean() < 1e-4
        assert one.masks.any()

    stock = stock_waits(config, predict)
    assert_few(when_predicting, stock, PREDICT)
    assert_few(with_runs, stock, RLE)
    assert_few(when_training, stock_waits(config, train), TRAIN)


@pytest.mark.parametrize('gate', ['sigmoid', 'tanh', 'square', 'relu_tanh'])
@pytest.mark.parametrize(
    'neck,options',
    [
        (GFPN, dict(share_gate=True, add_extra_convs='on_input')),
        (PooledGFPN, dict(gate_init='open')),
    ],
)
def test_necks_work_on_the_device(gate, neck, options):
    neck = neck([4, 8, 16], 16, 5, gate=gate, **options)
    maps = [torch.randn(1, c, s, s) for c, s in ((4, 16), (8, 8), (16, 4))]
    expected = neck(maps)
    with simulated_device() as waits:
        neck.to('lazy')
        maps = [x.to('lazy') for x in maps]
        waits.clear()
        found = neck(maps)
        sum(x.sum() for x in found).backward()
        assert not waits
        found = [x.cpu() for x in found]
    for x, wanted in zip(found, expected):
        assert torch.equal(x, wanted)


# Models of the paper, and the operators that their prediction gives to the
# device beyond stock RetinaNet's, by batch size
FPN_CONFIG = CONFIGS / 'sprnet_r50_fpn_1x_coco.py'
OPERATORS = {
    FPN_CONFIG: {1: 65, 8: 150},
    CONFIGS / 'sprnet_r50_gfpn_1x_coco.py': {1: 80, 8: 165},
    CONFIGS / 'plus' / 'sprnet_r50_gfpn_plus-box_1x_coco.py': {1: 90, 8: 175},
}
WAITS = 3  # of a batch


def operators_and_waits(config, count, stock=False):
    """Predict pictures of 100 objects each; return where operators run, and
    the waits."""
    cfg = read_config(config)
    cfg.merge_from_dict({f'model.{k}': v for k, v in SMALL.items()})
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.nms_pre = 1000
    if stock:
        cfg.model.pop('mask_head')
        cfg.model.type = 'RetinaNet'
    else:
        cfg.model.mask_head.decoder.channels = 16
        if cfg.model.mask_head.encoder.get('fine_channels'):
            cfg.model.mask_head.encoder.fine_channels = 8
    torch.manual_seed(0)
    model, images = MODELS.build(cfg.model).eval(), torch.rand(count, 3, *SIZE)
    samples = [sample([], [], SIZE) for _ in range(count)]
    for image in samples:
        size = dict(ori_shape=(43, 64), scale_factor=(2.0, 128 / 43))
        image.set_metainfo(size)
    with simulated_device() as waits, torch.no_grad():
        model, images = model.to('lazy'), images.to('lazy')
        waits.clear()
        with DeviceOperators() as operators:
            results = model.predict(images, samples)
    assert [len(r.pred_instances) for r in results] == [100] * count
    return operators.places, list(waits)


@pytest.mark.parametrize('count', [1, 8])
def test_a_prediction_has_few_operators_and_waits_of_its_own(
    monkeypatch, count
):
    # As many parts as for pictures of 427 x 640 pixels
    at_once = pasting.ON_GPU_AT_ONCE * (43 * 64) // (427 * 640)
    monkeypatch.setattr(pasting, 'ON_GPU_AT_ONCE', at_once)
    stock, stock_waits = operators_and_waits(FPN_CONFIG, count, stock=True)
    for config, most in OPERATORS.items():
        places, waits = operators_and_waits(config, count)
        ours = Counter(p for p in places if p.startswith('projects/sprnet'))
        extra = len(places) - len(stock)
        assert sum(ours.values()) > 30
        assert extra <= most[count], (config.stem, ours)
        assert len(waits) - len(stock_waits) <= WAITS, waits


def detections(count, classes):
    """Objects of many sizes, behind ``count`` different locations."""
    torch.manual_seed(0)
    centres, sides = 400 * torch.rand(count, 2), 8 + 150 * torch.rand(count, 2)
    return InstanceData(
        bboxes=torch.cat([centres - sides / 2, centres + sides / 2], dim=1),
        labels=torch.arange(count) % classes,
        locations=torch.arange(count),
    )


@pytest.mark.parametrize('name', ['MultiScaleFusion', 'BoxGrid'])
def test_more_detections_need_no_more_operators_or_waits(name):
    head, image = small(name).mask_head, sample([], [], (400, 400))
    sizes = [(64 // 2**i, 64 // 2**i) for i in range(5)]
    levels, fine = pyramid(sizes, 1, 64), torch.randn(1, 8, 128, 128)
    numbers = {}
    with simulated_device() as waits, torch.no_grad():
        head.to('lazy')
        features = Features(
            tuple(level.to('lazy') for level in levels), fine.to('lazy')
        )
        for count in (10, 400):
            found = detections(count, head.num_classes).to('lazy')
            maps = torch.rand(count, 32, 32).to('lazy')
            paste = (maps, [found.bboxes], [(400, 400)], 0.5)
            for step, run, arguments in (
                ('branch', head.probabilities, (features, [image], [found])),
                ('dense', DenseMasks(), paste),
                ('rle', RLEMasks(), paste),
            ):
                waits.clear()
                with DeviceOperators() as operators:
                    run(*arguments)
                numbers[step, count] = len(operators.places), len(waits)
    for step in ('branch', 'dense', 'rle'):
        assert numbers[step, 10] == numbers[step, 400]


@pytest.mark.parametrize('name', ['MultiScaleFusion', 'BoxGrid'])
def test_the_module_for_export_works_on_the_device(name):
    model = small(name).eval()
    sizes = torch.tensor([SIZE, SIZE])
    with torch.no_grad():
        expected = TraceableSPRNet(model)(inputs(model)[0], sizes)
        with simulated_device():
            model.to('lazy')
            found = TraceableSPRNet(model)(inputs(model)[0], sizes.to('lazy'))
            found = [field.cpu() for field in found]
    for field, wanted in zip(found, expected):
        torch.testing.assert_close(field, wanted)


@pytest.mark.parametrize(
    'peer',
    [
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
        'condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py',
    ],
)
def test_the_pretence_reaches_peers(peer):
    config = get_config(f'mmdet::{peer}')
    options = {k: v for k, v in SMALL.items() if k in BACKBONE}
    if peer.startswith('mask_rcnn'):
        options.update(
            {
                'train_cfg.rpn_proposal.max_per_img': 20,
                'test_cfg.rpn.max_per_img': 20,
            }
        )
    config.merge_from_dict({f'model.{k}': v for k, v in options.items()})
    config.model.backbone.init_cfg = None
    model = MODELS.build(config.model)
    with simulated_device():
        model.to('lazy')
        assert train(model, inputs(model)).device.type == 'lazy'
        predict(model, inputs(model))


def test_the_pretence_refuses_two_devices():
    with simulated_device():
        x = torch.arange(6, device='lazy')
        for mixing in (
            lambda: x + torch.arange(6),
            lambda: torch.cat([x, torch.arange(3)]),
            lambda: torch.arange(6)[x],
            lambda: torch.where(x > 2, x, torch.arange(6)),
            lambda: x.index_select(0, torch.tensor([1])),
            lambda: np.asarray(x),
        ):
            with pytest.raises(RuntimeError):
                mixing()
        y = x * torch.tensor(2) + 1
        assert y.device.type == 'lazy' and y.tolist() == [1, 3, 5, 7, 9, 11]


def test_the_pretence_counts():
    with simulated_device() as waits:
        x = torch.arange(6, device='lazy')
        for waiting in (
            lambda: x.cpu(),
            lambda: x.tolist(),
            lambda: x.max().item(),
            lambda: bool((x > 2).any()),
            lambda: x[x > 2],
            lambda: x[[0, 2]],
            lambda: (x > 2).nonzero(),
            lambda: x.unique(),
            lambda: x.bincount(),
            lambda: x.new_tensor([1, 2]),
            lambda: torch.tensor([1, 2], device='lazy'),
            lambda: torch.equal(x, x),
            lambda: torch.ones(2).to(x),
        ):
            waits.clear()
            x[x > 2] = 0
            x.new_full((2,), 3).clamp(max=2).sort()
            assert not waits
            waiting()
            (wait,) = waits
            assert 'test_device.py' in wait.place and 'lambda' in wait.place
