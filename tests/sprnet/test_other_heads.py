"""SPRNet around the dense heads of MMDetection's one-stage detectors."""

import random

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import PAAHead, TOODHead
from mmdet.registry import DATASETS, MODELS
from mmengine.hub import get_config
from mmengine.logging import MessageHub
from shapes_data.scenes import CLASSES
from support.helpers import CONFIGS, OBJECTS, read_config, sample
from support.small_models import shrink
from torch import nn

from projects.sprnet import SPRHead
from projects.sprnet.detections import predict_boxes_and_locations
from projects.sprnet.pyramid import locate, pyramid_sizes
from projects.sprnet.sprnet import in_float32

FOLDER = CONFIGS / 'other_heads'
STOCK = {
    'atss_r50_fpn_1x': 'atss/atss_r50_fpn_1x',
    'centernet_r50_fpn_1x': 'centernet/centernet-update_r50-caffe_fpn_ms-1x',
    'ddod_r50_fpn_1x': 'ddod/ddod_r50_fpn_1x',
    'fcos_r50_fpn_1x': 'fcos/fcos_r50-caffe_fpn_gn-head_1x',
    'gfl_r50_fpn_1x': 'gfl/gfl_r50_fpn_1x',
    'paa_r50_fpn_plus-box_1x': 'paa/paa_r50_fpn_1x',
    'rtmdet-tiny_300e': 'rtmdet/rtmdet_tiny_8xb32-300e',
    'rtmdet-tiny_plus-box_300e': 'rtmdet/rtmdet_tiny_8xb32-300e',
    'tood_r50_fpn_1x': 'tood/tood_r50_fpn_1x',
    'vfnet_r50_fpn_1x': 'vfnet/vfnet_r50_fpn_1x',
    'yolox-tiny_plus-box_300e': 'yolox/yolox_tiny_8xb8-300e',
}
SIZE = (96, 128)
TEST_CFG = dict(
    score_thr=0.02,
    nms_pre=200,
    nms=dict(type='nms', iou_threshold=0.6),
    max_per_img=100,
)


def read(name):
    return read_config(FOLDER / f'sprnet_{name}_coco.py').model


def build(cfg):
    """A small model with scores and boxes that depend on the image."""
    shrink(cfg).test_cfg.update(TEST_CFG)
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    for layer in model.bbox_head.modules():
        if getattr(layer, 'out_channels', None) == cfg.bbox_head.num_classes:
            nn.init.normal_(layer.weight, std=0.3)
            nn.init.constant_(layer.bias, -3)
    return model


@pytest.fixture(scope='module', params=STOCK)
def pair(request):
    """An SPRNet of a config, and the stock detector with its weights."""
    config = read(request.param)
    stock = get_config(f'mmdet::{STOCK[request.param]}_coco.py').model
    assert config.bbox_head == stock.bbox_head
    spr, stock = build(config), build(stock)
    missing, unexpected = stock.load_state_dict(spr.state_dict(), strict=False)
    assert not missing
    assert all(key.startswith('mask_head.') for key in unexpected)
    return spr, stock


@pytest.fixture(scope='module')
def images():
    torch.manual_seed(1)
    return torch.randn(2, 3, *SIZE)


def samples():
    return [sample([], [], SIZE) for _ in range(2)]


def read_at_boxes(model):
    """Give an SPRNet a mask head that reads boxes, and return the model."""
    head = model.mask_head
    strides = [stride for stride, _ in head.prior_generator.strides]
    model.mask_head = SPRHead(
        num_classes=head.num_classes,
        in_channels=head.in_channels,
        sampler=dict(type='JitteredBoxSampler'),
        encoder=dict(type='BoxGrid', strides=strides),
        decoder=dict(type='ShortcutPixelDecoder', channels=32),
        loss_mask=dict(type='CrossEntropyLoss', use_sigmoid=True),
    )
    return model


def assert_boxes_equal(models, images):
    with torch.no_grad():
        results = [model.predict(images, samples()) for model in models]
    for found, expected in zip(*results):
        found, expected = found.pred_instances, expected.pred_instances
        assert len(found) == len(expected) > 10
        for field in ('bboxes', 'scores', 'labels'):
            assert torch.equal(found[field], expected[field])
        assert found.masks.shape == (len(found), *SIZE)


def assert_losses_equal(models, images):
    """Box losses are the stock detector's; masks train as well."""
    MessageHub.get_current_instance().update_info('epoch', 0)  # TOOD asks
    annotated = sample(OBJECTS, [0, 1, 2], SIZE)
    spr = models[0].train().loss(images[:1], [annotated])
    del annotated.gt_instances.masks
    stock = models[1].train().loss(images[:1], [annotated])
    assert spr.pop('loss_mask') > 0
    assert set(spr) == set(stock)
    for name, loss in stock.items():
        assert torch.equal(total(spr[name]), total(loss)), name


def total(loss):
    return loss if torch.is_tensor(loss) else sum(loss)


def test_boxes_are_the_stock_detectors_bit_for_bit(pair, images):
    assert_boxes_equal(pair, images)


def test_a_location_is_the_one_that_scored_the_detection(pair, images):
    model, _ = pair
    if not model.mask_head.encoder.reads_locations:
        pytest.skip('its masks are read at the box')
    head = model.bbox_head
    with torch.no_grad():
        levels = model.extract_feat(images).levels
        outs = head(levels)
        results = predict_boxes_and_locations(
            head, levels, [s.metainfo for s in samples()], rescale=True
        )
    for n, detections in enumerate(results):
        level_of, place, _ = locate(
            detections.locations, pyramid_sizes(levels)
        )
        for level, (row, column), label, score in zip(
            level_of, place, detections.labels, detections.scores
        ):
            scores = outs[0][level][n, label, row, column]
            expected = scores if type(head) is TOODHead else scores.sigmoid()
            if len(outs) > 2 and outs[2][level].shape[1] == 1:
                expected *= outs[2][level][n, 0, row, column].sigmoid()
            torch.testing.assert_close(score, expected)


def test_trains_its_boxes_as_without_masks(pair, images):
    if type(pair[1].bbox_head) is PAAHead:
        pytest.importorskip('sklearn')
    assert_losses_equal(pair, images)


def test_masks_read_at_the_box(pair, images):
    """Of heads whose config reads them at the location."""
    spr, stock = pair
    if not spr.mask_head.encoder.reads_locations:
        pytest.skip('its config reads them there')
    read_at_boxes(spr)
    assert_losses_equal((spr, stock), images)
    spr.eval(), stock.eval()
    assert_boxes_equal((spr, stock), images)


def test_a_head_whose_locations_cannot_be_followed_needs_an_encoder_of_boxes():
    config = read('paa_r50_fpn_plus-box_1x')
    config.mask_head = read('atss_r50_fpn_1x').mask_head
    with pytest.raises(ValueError, match='bbox_head.type=PAAHead.*BoxGrid'):
        MODELS.build(shrink(config))


@pytest.mark.parametrize('size', ['tiny', 's'])
def test_rtmdet_is_mmdetections_and_keeps_its_hooks(size):
    stock = get_config(f'mmdet::rtmdet/rtmdet_{size}_8xb32-300e_coco.py')
    for variant in '', '_plus-box':
        name = f'sprnet_rtmdet-{size}{variant}_300e_coco.py'
        config = read_config(FOLDER / name)
        assigner = config.model.train_cfg.assigner
        assert assigner.type == 'CompactSoftLabelAssigner'
        assigner.type = 'DynamicSoftLabelAssigner'
        for part in 'bbox_head', 'neck', 'data_preprocessor', 'train_cfg':
            assert config.model[part] == stock.model[part]
        config.model.backbone.pop('out_indices', None)
        assert config.model.backbone == stock.model.backbone
        hooks = [hook.type for hook in config.custom_hooks]
        assert hooks == ['EMAHook', 'PipelineSwitchHook']
        assert config.tta_model.type == 'MaskTTAModel'
        assert config.optim_wrapper.optimizer == stock.optim_wrapper.optimizer


@pytest.mark.parametrize('name', ['rtmdet-tiny', 'yolox-tiny_plus-box'])
def test_pipelines_move_masks_with_their_boxes(name, shapes):
    config = read_config(FOLDER / f'sprnet_{name}_300e_coco.py')
    dataset = config.train_dataloader.dataset
    inner = dataset.get('dataset', dataset)
    inner.update(data_root=str(shapes), metainfo=dict(classes=CLASSES))
    for step in dataset.pipeline:
        for option in {'scale', 'img_scale', 'crop_size', 'size'} & set(step):
            step[option] = (128, 128)
    np.random.seed(0)
    random.seed(0)
    dataset, objects = DATASETS.build(dataset), 0
    for i in range(24):  # the first fill the cache
        annotated = dataset[i % len(dataset)]['data_samples'].gt_instances
        masks = annotated.masks
        boxes = annotated.bboxes.tensor
        assert (masks.height, masks.width) == (128, 128)
        objects += len(boxes)
        for (x1, y1, x2, y2), mask in zip(boxes, masks.to_ndarray()):
            rows, columns = np.nonzero(mask)
            if len(rows):
                assert columns.min() > x1 - 2 and columns.max() < x2 + 2
                assert rows.min() > y1 - 2 and rows.max() < y2 + 2
                assert len(rows) > 0.1 * (x2 - x1) * (y2 - y1) - 8
    assert objects > 24


def test_nested_outputs_become_float32():
    """SABL's head returns a pair of maps for each level's boxes."""
    half = torch.ones(1, dtype=torch.float16)
    scores, [(first, second)] = in_float32(None, (), ([half], [(half, half)]))
    assert {x.dtype for x in (*scores, first, second)} == {torch.float32}
