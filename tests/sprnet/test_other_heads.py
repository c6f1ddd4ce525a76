import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hub import get_config
from support.helpers import CONFIGS, OBJECTS, sample
from torch import nn

from projects.sprnet.detections import predict_boxes_and_pixels
from projects.sprnet.pyramid import locate, pyramid_sizes

HEADS = {
    'atss': 'mmdet::atss/atss_r50_fpn_1x_coco.py',
    'gfl': 'mmdet::gfl/gfl_r50_fpn_1x_coco.py',
    'fcos': 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
}

YOLOX = 'yolox/yolox_tiny_8xb8-300e_coco.py'
SIZE = (96, 128)


def build(cfg):
    cfg.backbone.init_cfg = None
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    for name in ('atss_cls', 'gfl_cls', 'conv_cls'):
        layer = getattr(model.bbox_head, name, None)
        if layer is not None:
            nn.init.normal_(layer.weight, std=0.3)
            nn.init.constant_(layer.bias, -3)
    return model


@pytest.fixture(
    scope='module', params=[*((name, False) for name in HEADS), ('fcos', True)]
)
def pair(request):
    """An SPRNet with a head, and the stock detector with its weights."""
    head, boxes = request.param
    name = f'sprnet_{head}_r50_fpn_1x_coco.py'
    config = Config.fromfile(CONFIGS / 'other_heads' / name).model
    if boxes:
        config.mask_head.encoder = dict(type='BoxGrid')
        config.mask_head.sampler = dict(type='JitteredBoxSampler')
    spr = build(config)
    stock = build(get_config(HEADS[head]).model)
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


def test_boxes_are_the_stock_detectors_bit_for_bit(pair, images):
    with torch.no_grad():
        results = [model.predict(images, samples()) for model in pair]
    for spr, stock in zip(*results):
        assert_boxes_equal(spr.pred_instances, stock.pred_instances)


def assert_boxes_equal(spr, stock):
    assert len(spr) == len(stock) > 10
    for field in ('bboxes', 'scores', 'labels'):
        assert torch.equal(spr[field], stock[field])
    assert spr.masks.shape == (len(spr), *SIZE)


def test_a_pixel_is_the_one_that_scored_the_detection(pair, images):
    model, _ = pair
    if not model.mask_head.encoder.reads_pixels:
        pytest.skip('its masks are read at the box')
    head = model.bbox_head
    with torch.no_grad():
        feats = model.extract_feat(images)
        outs = head(feats)
        results = predict_boxes_and_pixels(
            head, feats, [s.metainfo for s in samples()], rescale=True
        )
    for n, detections in enumerate(results):
        located = locate(detections.pixels, pyramid_sizes(feats))
        for level, row, column, label, score in zip(
            *located, detections.labels, detections.scores
        ):
            expected = outs[0][level][n, label, row, column].sigmoid()
            if getattr(head, 'loss_centerness', None):
                centre = outs[2][level][n, 0, row, column].sigmoid()
                expected = expected * centre
            torch.testing.assert_close(score, expected)


ATSS = CONFIGS / 'other_heads' / 'sprnet_atss_r50_fpn_1x_coco.py'


def added(folder, stock):
    """A config of MMDetection that takes over add_spr.py, as ATSS's does."""
    text = ATSS.read_text()
    for old, new in (
        ('atss/atss_r50_fpn_1x_coco.py', stock),
        ('../_base_', f'{CONFIGS}/_base_'),
        (
            '=_base_.paper_anchors',
            '=dict(_base_.paper_anchors, strides=[8, 16, 32])',
        ),
    ):
        assert old in text
        text = text.replace(old, new)
    path = folder / 'own.py'
    path.write_text(text)
    return Config.fromfile(path)


def test_rtmdet_with_its_own_hooks_trains_its_boxes_as_without_masks(tmp_path):
    config = added(tmp_path, 'rtmdet/rtmdet_tiny_8xb32-300e_coco.py')
    assert config.custom_hooks[0].type == 'EMAHook'
    assert config.tta_model.type == 'MaskTTAModel'
    config.model.backbone.norm_cfg = config.model.neck.norm_cfg = None
    config.model.bbox_head.norm_cfg = dict(type='BN')
    model = build(config.model).train()
    torch.manual_seed(2)
    image = torch.randn(1, 3, 96, 128)
    boxes = [[10, 10, 60, 60], [64, 30, 120, 90]]
    annotated = sample(boxes, [0, 1], (96, 128))
    losses = model.loss(image, [annotated])
    assert losses['loss_mask'] > 0
    assert 'masks' in annotated.gt_instances
    del annotated.gt_instances.masks
    expected = model.bbox_head.loss(model.extract_feat(image), [annotated])
    for name, loss in expected.items():
        assert torch.equal(sum(losses[name]), sum(loss)), name


def test_a_head_whose_pixels_cannot_be_followed_needs_an_encoder_of_boxes(
    tmp_path, images
):
    config = added(tmp_path, YOLOX)
    with pytest.raises(ValueError, match='bbox_head.type=YOLOXHead.*BoxGrid'):
        MODELS.build(config.model)
    head = config.model.mask_head
    head.encoder = dict(type='BoxGrid', strides=[8, 16, 32])
    head.sampler = dict(type='JitteredBoxSampler')
    config.model.test_cfg.score_thr = 0.0
    spr, stock = (
        build(config.model),
        build(get_config(f'mmdet::{YOLOX}').model),
    )
    stock.bbox_head.test_cfg.score_thr = 0.0
    stock.load_state_dict(spr.state_dict(), strict=False)
    with torch.no_grad():
        results = [model.predict(images, samples()) for model in (spr, stock)]
    for found, expected in zip(*results):
        assert_boxes_equal(found.pred_instances, expected.pred_instances)
    losses = spr.train().loss(images[:1], [sample(OBJECTS, [0, 1, 2], SIZE)])
    assert losses['loss_mask'] > 0
