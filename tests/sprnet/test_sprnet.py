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
    lively,
    sample,
)

from projects.sprnet.pasting import paste_masks


def retinanet(config=SHAPES_CONFIG):
    """MMDetection's detector with the parts of an SPRNet's config."""
    cfg = Config.fromfile(config).model
    cfg.pop('mask_head')
    cfg.test_cfg.pop('mask_thr_binary')
    cfg.type = 'RetinaNet'
    cfg.backbone.init_cfg = None
    return MODELS.build(cfg).eval()


@pytest.fixture(scope='module')
def model():
    return lively(build_model())


def data(batch=2, size=(128, 160)):
    torch.manual_seed(3)
    samples = [sample([], [], size) for _ in range(batch)]
    for image in samples:
        image.set_metainfo(
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
    with torch.no_grad():
        results = model.predict(*data().values(), rescale)
        expected = stock.predict(*data().values(), rescale)
    for result, reference in zip(results, expected):
        assert len(result.pred_instances) == 100
        for field in ('bboxes', 'scores', 'labels'):
            assert torch.equal(
                result.pred_instances[field], reference.pred_instances[field]
            )


def test_a_stock_checkpoint_loads_with_only_the_new_keys_missing():
    fpn = CONFIGS / 'sprnet_r50_fpn_1x_coco.py'
    for config, new in (
        (fpn, ('mask_head.',)),
        (
            CONFIGS / 'sprnet_r50_gfpn_1x_coco.py',
            ('mask_head.', 'neck.gates.'),
        ),
    ):
        missing, unexpected = build_model(config).load_state_dict(
            retinanet(fpn).state_dict(), strict=False
        )
        assert not unexpected
        assert missing and all(key.startswith(new) for key in missing)


def test_masks_come_from_the_pixel_that_scored(model):
    """Reconstruct each mask from dense maps and the maps of all classes."""
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
        for n, result in enumerate(results):
            detections = result.pred_instances
            assert detections.masks.shape == (100, 100, 90)
            x = codes[n * length + detections.pixels][..., None, None]
            for deconv in decoder.deconvs[:3]:
                x = deconv(x)
            small = x
            for deconv in decoder.deconvs[3:]:
                x = deconv(x).relu()
            x = decoder.classifier(x + F.interpolate(small, scale_factor=4))
            grids = x[range(100), detections.labels].sigmoid()
            expected = paste_masks(grids, detections.bboxes, 100, 90, 0.5)
            assert (detections.masks != expected).float().mean() < 1e-4
            areas = detections.masks.flatten(1).float().sum(1)
            assert len(areas.unique()) > 20  # not all full, not all empty


def test_a_pixel_that_is_shifted_gives_another_mask(model):
    """So the test above would notice it."""
    batch = data(batch=1)
    with torch.no_grad():
        feats = model.extract_feat(batch['inputs'])
        pixels = torch.arange(100, 120)
        indices, labels = torch.zeros_like(pixels), pixels % 6
        boxes = torch.zeros(20, 4)
        here = model.mask_head(feats, indices, pixels, boxes, labels)
        beside = model.mask_head(feats, indices, pixels + 1, boxes, labels)
        other_class = model.mask_head(
            feats, indices, pixels, boxes, (labels + 1) % 6
        )
    assert ((here > 0) != (beside > 0)).float().mean() > 1e-2
    assert ((here > 0) != (other_class > 0)).float().mean() > 1e-2


def test_masks_at_the_networks_size_without_rescale(model):
    batch = data(batch=1)
    with torch.no_grad():
        (result,) = model.predict(*batch.values(), rescale=False)
    assert result.pred_instances.masks.shape == (100, 128, 160)


def test_nothing_detected(model):
    batch = data(batch=2)
    threshold = model.bbox_head.test_cfg.score_thr
    model.bbox_head.test_cfg.score_thr = 1.0
    with torch.no_grad():
        results = model.predict(*batch.values())
    model.bbox_head.test_cfg.score_thr = threshold
    for result in results:
        assert result.pred_instances.masks.shape == (0, 100, 90)
        assert result.pred_instances.bboxes.shape == (0, 4)


def test_tensor_mode_gives_masks_of_the_best_pixels(model):
    batch = data(batch=2)
    with torch.no_grad():
        scores, deltas, logits = model(**batch, mode='tensor')
    assert len(scores) == len(deltas) == 5
    assert logits.shape == (200, 32, 32)


def test_the_mask_head_inherits_options_of_the_box_head():
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
