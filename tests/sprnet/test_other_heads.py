import pytest
import torch
from helpers import CONFIGS, sample
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hub import get_config
from torch import nn

from projects.sprnet.pyramid import locate, pyramid_sizes

HEADS = {
    'atss': 'mmdet::atss/atss_r50_fpn_1x_coco.py',
    'gfl': 'mmdet::gfl/gfl_r50_fpn_1x_coco.py',
    'fcos': 'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
}


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
    """SPR around a head, reading pixels or boxes, and MMDetection's detector
    of the same weights."""
    head, boxes = request.param
    name = f'sprnet_{head}_r50_fpn_1x_coco.py'
    config = Config.fromfile(CONFIGS / 'other_heads' / name).model
    if boxes:
        config.mask_head.encoder = dict(type='BoxGrid')
        config.mask_head.sampler = dict(type='JitteredBoxSampler')
    ours = build(config)
    stock = build(get_config(HEADS[head]).model)
    missing, unexpected = stock.load_state_dict(
        ours.state_dict(), strict=False
    )
    assert not missing
    assert all(key.startswith('mask_head.') for key in unexpected)
    return ours, stock


@pytest.fixture(scope='module')
def images():
    torch.manual_seed(1)
    return torch.randn(2, 3, 96, 128)


def samples():
    return [sample([], [], (96, 128)) for _ in range(2)]


def test_boxes_are_the_stock_detectors_bit_for_bit(pair, images):
    ours, stock = pair
    with torch.no_grad():
        mine = ours.predict(images, samples())
        theirs = stock.predict(images, samples())
    for a, b in zip(mine, theirs):
        a, b = a.pred_instances, b.pred_instances
        assert len(a) == len(b) > 10
        for field in ('bboxes', 'scores', 'labels'):
            assert torch.equal(a[field], b[field])
        assert a.masks.shape == (len(a), 96, 128)


def test_a_pixel_is_the_one_that_scored_the_detection(pair, images):
    ours, _ = pair
    head = ours.bbox_head
    with torch.no_grad():
        feats = ours.extract_feat(images)
        outs = head(feats)
        results = ours.predict(images, samples())
    for n, result in enumerate(results):
        found = result.pred_instances
        levels, rows, columns = locate(found.pixels, pyramid_sizes(feats))
        for level, row, column, label, score in zip(
            levels, rows, columns, found.labels, found.scores
        ):
            expected = outs[0][level][n, label, row, column].sigmoid()
            if getattr(head, 'loss_centerness', None):
                centre = outs[2][level][n, 0, row, column].sigmoid()
                expected = expected * centre
            torch.testing.assert_close(score, expected)
