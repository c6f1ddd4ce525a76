import pytest
import torch
from mmdet.models.dense_heads import RetinaHead
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from support.helpers import (
    NAN,
    build_model,
    lively,
    retina_head,
    stock_candidates,
)

from projects.sprnet.detections import (
    candidates,
    predict_boxes_and_locations,
)

SIZES = [(16, 12), (8, 6), (4, 3), (2, 2)]
INPUT = (128, 160)
METAS = 2 * [
    dict(
        img_shape=INPUT,
        ori_shape=(100, 100),
        scale_factor=(1.25, 1.6),
        pad_shape=INPUT,
    )
]


@pytest.fixture(scope='module')
def detector():
    model = lively(build_model())
    torch.nn.init.normal_(model.bbox_head.retina_reg.weight, std=0.02)
    return model


@pytest.fixture
def feats(detector):
    torch.manual_seed(3)
    return detector.extract_feat(torch.randn(2, 3, *INPUT)).levels


@pytest.mark.parametrize('rescale', [False, True])
@pytest.mark.parametrize('min_bbox_size', [-1, 0, 30])
def test_detections_are_the_stock_heads_bit_for_bit(
    detector, feats, rescale, min_bbox_size
):
    head = detector.bbox_head
    head.test_cfg.min_bbox_size = min_bbox_size
    expected = head.predict_by_feat(
        *head(feats), batch_img_metas=METAS, rescale=rescale
    )
    results = predict_boxes_and_locations(head, feats, METAS, rescale)
    for per_image, stock in zip(results, expected):
        assert len(stock) > 50
        for field in ('bboxes', 'scores', 'labels'):
            assert torch.equal(per_image[field], stock[field]), field
    head.test_cfg.min_bbox_size = 0


def test_locations_are_where_the_boxes_and_scores_come_from(detector, feats):
    """Each detection is among the decoded anchors of its location."""
    head = detector.bbox_head
    scores, deltas = head(feats)
    sizes = [s.shape[-2:] for s in scores]
    priors = torch.cat(head.prior_generator.grid_priors(sizes, device='cpu'))
    for n, results in enumerate(
        predict_boxes_and_locations(head, feats, METAS, rescale=False)
    ):
        flat_scores, flat_deltas = (
            torch.cat(
                [x[n].permute(1, 2, 0).reshape(-1, channels) for x in levels]
            )
            for levels, channels in ((scores, head.num_classes), (deltas, 4))
        )
        boxes = head.bbox_coder.decode(priors, flat_deltas, max_shape=INPUT)
        boxes = boxes.view(-1, 9, 4)[results.locations]
        logits = flat_scores.view(-1, 9, head.num_classes)[results.locations]
        logits = logits[range(100), :, results.labels]
        assert len(results) == 100
        same_score = torch.isclose(logits.sigmoid(), results.scores[:, None])
        same_box = torch.isclose(boxes, results.bboxes[:, None]).all(dim=2)
        assert (same_score & same_box).any(dim=1).all()


CLASSES = 3
SOFTMAX = dict(type='CrossEntropyLoss', use_sigmoid=False)


def outputs(classes=CLASSES):
    """Outputs of a head with two anchors a location, of one picture."""
    torch.manual_seed(0)
    scores = [3 * torch.randn(1, 2 * classes, *s) - 3 for s in SIZES]
    scores[2] -= 90  # a level without candidates
    return scores, [torch.randn(1, 8, *s) for s in SIZES]


def both(head, outs, **cfg):
    """The head's candidates, with locations, and the expected locations."""
    cfg = ConfigDict(cfg)
    (found,) = candidates(head, outs, METAS[:1], cfg, rescale=True)
    (stock,) = head.predict_by_feat(
        *outs, batch_img_metas=METAS[:1], cfg=cfg, rescale=True, with_nms=False
    )
    for field in ('bboxes', 'scores', 'labels'):
        torch.testing.assert_close(
            found[field], stock[field], rtol=0, atol=0, equal_nan=True
        )
    return found, stock_candidates([s[0] for s in outs[0]], head, cfg)[0]


def by_loops(maps, threshold, count):
    """The location of each score above the threshold, level by level, at most
    ``count`` each, best first."""
    locations, start = [], 0
    for level in maps:
        scores = level[0].sigmoid().flatten(1)
        above = [
            (-score, location)
            for location, column in enumerate(scores.T.tolist())
            for score in column
            if score > threshold
        ]
        locations += [start + place for _, place in sorted(above)[:count]]
        start += scores.shape[1]
    return locations


@pytest.mark.parametrize('threshold', [0, 1e-3, 0.05, 0.5, 0.999, 1])
@pytest.mark.parametrize('count', [20, 1000])
def test_candidates_of_sigmoids_against_loops(threshold, count):
    outs = outputs()
    head = retina_head(CLASSES, 2, len(SIZES))
    found, expected = both(head, outs, score_thr=threshold, nms_pre=count)
    assert found.locations.tolist() == expected.tolist()
    assert expected.tolist() == by_loops(outs[0], threshold, count)
    assert bool(len(found)) == (threshold < 1)


def test_candidates_of_a_softmax():
    head = retina_head(CLASSES, 2, len(SIZES), loss_cls=SOFTMAX)
    outs = outputs(CLASSES + 1)
    found, expected = both(head, outs, score_thr=0.3, nms_pre=1000)
    assert found.locations.tolist() == expected.tolist() and len(found) > 20


def test_a_score_of_nan_hides_no_other():
    outs = outputs()
    outs[0][0][:, 0] = NAN
    head = retina_head(CLASSES, 2, len(SIZES))
    found, expected = both(head, outs, score_thr=0.05, nms_pre=20)
    assert found.locations.tolist() == expected.tolist()
    assert (expected < SIZES[0][0] * SIZES[0][1]).sum() == 20


def test_a_head_that_selects_no_priors_is_refused():
    class Own(RetinaHead):
        def _predict_by_feat_single(self, cls_score_list, **kwargs):
            return InstanceData(scores=cls_score_list[0].flatten())

    head = retina_head(CLASSES, 2, len(SIZES))
    head.__class__ = Own
    with pytest.raises(ValueError, match='Own'):
        candidates(head, outputs(), METAS[:1], ConfigDict(), rescale=False)
