import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from support.helpers import (
    BOX_CONFIG,
    CONFIGS,
    SHAPES_CONFIG,
    build_model,
    lively,
    sample,
)
from support.references import logits_of

from projects.sprnet.pasting import paste_one_by_one
from projects.sprnet.structures import Instances


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


@pytest.mark.parametrize(
    'config', [SHAPES_CONFIG, BOX_CONFIG], ids=['locations', 'boxes']
)
def test_masks_come_from_the_location_that_scored_or_the_box(config):
    """Reconstruct each from dense maps, RoIAlign and maps of all classes."""
    model, batch = lively(build_model(config)), data()
    with torch.no_grad():
        results = model.predict(batch['inputs'], batch['data_samples'])
        features = model.extract_feat(batch['inputs'])
        for n, result in enumerate(results):
            found = result.pred_instances
            assert found.masks.shape == (100, 100, 90)
            factors = torch.tensor(2 * result.scale_factor)
            instances = Instances(
                torch.full((100,), n),
                found.bboxes * factors,
                found.labels,
                found.get('locations'),
            )
            grids = logits_of(model.mask_head, features, instances).sigmoid()
            expected = paste_one_by_one(grids, found.bboxes, (100, 90), 0.5)
            assert (found.masks != expected).float().mean() < 1e-4
            areas = found.masks.flatten(1).float().sum(1)
            assert len(areas.unique()) > 20  # not all full, not all empty


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


@pytest.mark.parametrize(
    'config', [SHAPES_CONFIG, BOX_CONFIG], ids=['locations', 'boxes']
)
def test_tensor_mode_gives_raw_outputs_and_masks(config):
    model, batch = lively(build_model(config)), data()
    with torch.no_grad():
        scores, deltas, logits = model(**batch, mode='tensor')
        features = model.extract_feat(batch['inputs'])
        assert len(scores) == len(deltas) == 5
        assert logits.shape == (200, 32, 32)
        for n in range(2):
            instances = Instances(
                torch.full((100,), n),
                torch.tensor([[0.0, 0, 160, 128]]).expand(100, 4),
                torch.zeros(100, dtype=torch.long),
                torch.arange(100),
            )
            torch.testing.assert_close(
                logits[100 * n : 100 * (n + 1)],
                logits_of(model.mask_head, features, instances),
                atol=1e-3,
                rtol=1e-3,
            )


def test_the_mask_head_inherits_options_of_the_box_head():
    model = build_model(**{'bbox_head.num_classes': 3})
    assert model.mask_head.num_classes == 3
    assert model.mask_head.decoder.classifier.out_channels == 3
    generator = model.bbox_head.prior_generator
    own = model.mask_head.prior_generator
    assert own.strides == generator.strides
    anchors = torch.stack(generator.base_anchors)
    assert torch.equal(torch.stack(own.base_anchors), anchors)


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
