import pytest
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.config import Config
from support.helpers import (
    CONFIGS,
    SHAPES_CONFIG,
    at_all_pixels,
    build_model,
    sample,
)

from projects.sprnet.pasting import paste_masks


def retinanet(config=SHAPES_CONFIG):
    """MMDetection's own detector with the parts of one of our configs."""
    cfg = Config.fromfile(config).model
    cfg.pop('mask_head')
    cfg.test_cfg.pop('mask_thr_binary')
    cfg.type = 'RetinaNet'
    cfg.backbone.init_cfg = None
    return MODELS.build(cfg).eval()


@pytest.fixture(scope='module')
def model():
    built = build_model().eval()
    torch.nn.init.normal_(built.bbox_head.retina_cls.weight, std=0.3)
    torch.nn.init.constant_(built.bbox_head.retina_cls.bias, -3)
    torch.nn.init.normal_(built.mask_head.decoder.classifier.weight, std=0.5)
    return built


def data(batch=2, size=(128, 160)):
    torch.manual_seed(3)
    samples = [sample([], [], size) for _ in range(batch)]
    for one in samples:
        one.set_metainfo(
            dict(ori_shape=(100, 90), scale_factor=(160 / 90, 1.28))
        )
    return dict(inputs=torch.randn(batch, 3, *size), data_samples=samples)


@pytest.mark.parametrize('rescale', [True, False])
def test_boxes_are_stock_retinanets_bit_for_bit(model, rescale):
    stock = retinanet()
    missing, unexpected = stock.load_state_dict(
        model.state_dict(), strict=False
    )
    assert not missing
    assert all(key.startswith('mask_head.') for key in unexpected)
    batch = data()
    with torch.no_grad():
        ours = model.predict(batch['inputs'], batch['data_samples'], rescale)
        ours = [s.pred_instances for s in ours]
        expected = stock.predict(*data().values(), rescale)
    for mine, theirs in zip(ours, expected):
        assert len(mine) == 100
        for field in ('bboxes', 'scores', 'labels'):
            assert torch.equal(mine[field], theirs.pred_instances[field])


def test_a_stock_checkpoint_loads_with_only_the_new_keys_missing():
    fpn = CONFIGS / 'sprnet_r50_fpn_1x_coco.py'
    for config, new in (
        (fpn, ('mask_head.',)),
        (
            CONFIGS / 'sprnet_r50_gfpn_1x_coco.py',
            ('mask_head.', 'neck.gates.'),
        ),
    ):
        ours = build_model(config)
        missing, unexpected = ours.load_state_dict(
            retinanet(fpn).state_dict(), strict=False
        )
        assert not unexpected
        assert missing and all(key.startswith(new) for key in missing)


def test_masks_come_from_the_pixel_that_scored(model):
    """Each mask, reconstructed again from dense maps and full class maps."""
    batch = data(batch=2)
    with torch.no_grad():
        results = model.predict(batch['inputs'], batch['data_samples'])
        feats = model.extract_feat(batch['inputs'])
        encoder, decoder = model.mask_head.encoder, model.mask_head.decoder
        length = sum(f[0, 0].numel() for f in feats)
        codes = at_all_pixels(
            [
                torch.cat([conv(f) for conv in encoder.convs], dim=1).relu()
                for f in feats
            ]
        )
        for n, one in enumerate(results):
            found = one.pred_instances
            assert found.masks.shape == (100, 100, 90)
            x = codes[n * length + found.pixels][..., None, None]
            for deconv in decoder.deconvs[:3]:
                x = deconv(x)
            small = x
            for deconv in decoder.deconvs[3:]:
                x = deconv(x).relu()
            x = decoder.classifier(x + F.interpolate(small, scale_factor=4))
            grids = x[range(100), found.labels].sigmoid()
            expected = paste_masks(grids, found.bboxes, 100, 90, 0.5)
            assert (found.masks != expected).float().mean() < 1e-4
            areas = found.masks.flatten(1).float().sum(1)
            assert len(areas.unique()) > 20  # not all full, not all empty


def test_a_pixel_that_is_shifted_gives_another_mask(model):
    """The test above could tell."""
    batch = data(batch=1)
    with torch.no_grad():
        feats = model.extract_feat(batch['inputs'])
        pixels = torch.arange(100, 120)
        images, labels = torch.zeros_like(pixels), pixels % 6
        boxes = torch.zeros(20, 4)
        here = model.mask_head(feats, images, pixels, boxes, labels)
        beside = model.mask_head(feats, images, pixels + 1, boxes, labels)
        other_class = model.mask_head(
            feats, images, pixels, boxes, (labels + 1) % 6
        )
    assert ((here > 0) != (beside > 0)).float().mean() > 1e-2
    assert ((here > 0) != (other_class > 0)).float().mean() > 1e-2


def test_masks_at_the_networks_size_without_rescale(model):
    batch = data(batch=1)
    with torch.no_grad():
        (one,) = model.predict(*batch.values(), rescale=False)
    assert one.pred_instances.masks.shape == (100, 128, 160)


def test_nothing_detected(model):
    batch = data(batch=2)
    threshold = model.bbox_head.test_cfg.score_thr
    model.bbox_head.test_cfg.score_thr = 1.0
    with torch.no_grad():
        results = model.predict(*batch.values())
    model.bbox_head.test_cfg.score_thr = threshold
    for one in results:
        assert one.pred_instances.masks.shape == (0, 100, 90)
        assert one.pred_instances.bboxes.shape == (0, 4)


def test_tensor_mode_gives_masks_of_the_best_pixels(model):
    batch = data(batch=2)
    with torch.no_grad():
        scores, deltas, logits = model(**batch, mode='tensor')
    assert len(scores) == len(deltas) == 5
    assert logits.shape == (200, 32, 32)


def test_mask_head_is_told_only_what_differs_from_the_box_head():
    model = build_model(**{'bbox_head.num_classes': 3})
    assert model.mask_head.num_classes == 3
    assert model.mask_head.decoder.classifier.out_channels == 3
    assert (
        model.mask_head.anchor_generator.strides
        == model.bbox_head.prior_generator.strides
    )


def test_the_sum_of_the_three_losses_reaches_every_weight():
    model = build_model().train()
    samples = [
        sample([[24, 24, 56, 56], [56, 40, 120, 104]], [0, 3]),
        sample([], []),
    ]
    losses = model(torch.randn(2, 3, 128, 128), samples, mode='loss')
    assert set(losses) == {'loss_cls', 'loss_bbox', 'loss_mask'}
    model.parse_losses(losses)[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
