import pytest
import torch
from helpers import CONFIGS, build_model, sample
from mmengine.structures import InstanceData

from projects.sprnet.pixels import top_pixels

CONFIG = CONFIGS / 'plus' / 'sprnet_r18_gfpn_plus-vote_shapes.py'
SIZE = (96, 128)


def overlap(a, b):
    """IoU of two boxes, (x1, y1, x2, y2)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inside = max(width, 0) * max(height, 0)
    areas = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (a, b)]
    return inside / (sum(areas) - inside) if sum(areas) else 0


def test_top_pixels_against_a_loop():
    torch.manual_seed(0)
    corners = torch.rand(30, 3, 2) * 50
    anchors = torch.cat([corners, corners + torch.rand(30, 3, 2) * 50], -1)
    boxes = anchors.flatten(0, 1)[torch.randperm(90)[:20]] + torch.rand(20, 4)
    pixels, overlaps = top_pixels(anchors, boxes, 4)
    for box, chosen, values in zip(boxes.tolist(), pixels, overlaps):
        best = [
            max(overlap(box, anchor) for anchor in pixel)
            for pixel in anchors.tolist()
        ]
        order = sorted(range(30), key=lambda i: -best[i])[:4]
        assert chosen.tolist() == order
        expected = torch.tensor([best[i] for i in order])
        torch.testing.assert_close(values, expected)
    assert top_pixels(anchors, boxes[:0], 4)[0].shape == (0, 4)
    assert top_pixels(anchors[:2], boxes, 4)[0].shape == (20, 2)


@pytest.fixture(scope='module')
def model():
    built = build_model(CONFIG).eval()
    torch.nn.init.normal_(built.mask_head.decoder.classifier.weight)
    built.bbox_head.test_cfg.score_thr = 0.0
    return built


@pytest.mark.parametrize('scale', [1.0, 2.0])
def test_a_mask_is_the_mean_of_its_voters(model, scale):
    head = model.mask_head
    samples = [sample([], [], SIZE) for _ in range(2)]
    for one in samples:
        one.set_metainfo(dict(scale_factor=(scale, scale)))
    torch.manual_seed(1)
    with torch.no_grad():
        feats = model.extract_feat(torch.randn(2, 3, *SIZE))
        results = [
            InstanceData(
                bboxes=torch.tensor(boxes) / scale, labels=torch.tensor(labels)
            )
            for boxes, labels in (
                ([[10.0, 12, 60, 58], [70, 20, 120, 90]], [1, 4]),
                ([[0.0, 0, 33, 40]], [2]),
            )
        ]
        maps = head._probabilities(feats, samples, results, rescale=True)
        sizes = [f.shape[-2:] for f in feats]
        anchors = head.anchor_generator.grid_priors(sizes, device='cpu')
        anchors = torch.cat(anchors).view(-1, 9, 4).tolist()
        for n, result in enumerate(results):
            for got, box, label in zip(maps[n], result.bboxes, result.labels):
                best = torch.tensor(
                    [
                        max(overlap((box * scale).tolist(), a) for a in pixel)
                        for pixel in anchors
                    ]
                )
                weights, pixels = best.topk(4)
                shapes = head(
                    feats,
                    torch.full_like(pixels, n),
                    pixels,
                    label.expand(4),
                ).sigmoid()
                weights = (weights**8)[:, None, None]
                expected = (shapes * weights).sum(0) / weights.sum()
                torch.testing.assert_close(got, expected)


def test_boxes_stay_and_nothing_is_fine_too(model):
    plain = build_model().eval()
    plain.load_state_dict(model.state_dict())
    plain.bbox_head.test_cfg.score_thr = 0.0
    images = torch.randn(2, 3, *SIZE)
    samples = [sample([], [], SIZE) for _ in range(2)]
    with torch.no_grad():
        ours = [s.pred_instances for s in model.predict(images, samples)]
        theirs = [s.pred_instances for s in plain.predict(images, samples)]
        for mine, other in zip(ours, theirs):
            for field in ('bboxes', 'scores', 'labels', 'pixels'):
                assert torch.equal(mine[field], other[field])
            assert mine.masks.shape == other.masks.shape
            assert not torch.equal(mine.masks, other.masks)
        model.bbox_head.test_cfg.score_thr = 1.0
        (none, _) = model.predict(images, samples)
        model.bbox_head.test_cfg.score_thr = 0.0
    assert none.pred_instances.masks.shape == (0, *SIZE)


def test_wrong_options_are_named():
    for option, value in (('num_pixels', 0), ('power', -1)):
        with pytest.raises(ValueError, match=f'{option}={value}'):
            build_model(CONFIG, **{f'mask_head.{option}': value})
