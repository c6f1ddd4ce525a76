import pytest
import torch
from support.helpers import (
    NAN,
    build_model,
    lively,
    stock_candidates,
    stub_head,
)

from projects.sprnet import detections
from projects.sprnet.detections import (
    candidate_pixels,
    least_logit,
    predict_boxes_and_pixels,
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
    return detector.extract_feat(torch.randn(2, 3, *INPUT))


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
    results = predict_boxes_and_pixels(head, feats, METAS, rescale)
    head.test_cfg.min_bbox_size = 0
    for per_image, stock in zip(results, expected):
        assert len(stock) > 50
        for field in ('bboxes', 'scores', 'labels'):
            assert torch.equal(per_image[field], stock[field]), field


def test_pixels_are_where_the_boxes_and_scores_come_from(detector, feats):
    """Each detection is among the decoded anchors of its pixel."""
    head = detector.bbox_head
    scores, deltas = head(feats)
    sizes = [s.shape[-2:] for s in scores]
    priors = torch.cat(head.prior_generator.grid_priors(sizes, device='cpu'))
    for n, results in enumerate(
        predict_boxes_and_pixels(head, feats, METAS, rescale=False)
    ):
        flat_scores, flat_deltas = (
            torch.cat(
                [x[n].permute(1, 2, 0).reshape(-1, channels) for x in levels]
            )
            for levels, channels in ((scores, head.num_classes), (deltas, 4))
        )
        boxes = head.bbox_coder.decode(priors, flat_deltas, max_shape=INPUT)
        boxes = boxes.view(-1, 9, 4)[results.pixels]
        logits = flat_scores.view(-1, 9, head.num_classes)[results.pixels]
        logits = logits[range(100), :, results.labels]
        assert len(results) == 100
        same_score = torch.isclose(logits.sigmoid(), results.scores[:, None])
        same_box = torch.isclose(boxes, results.bboxes[:, None]).all(dim=2)
        assert (same_score & same_box).any(dim=1).all()


LOW = [torch.float16, torch.bfloat16]
THRESHOLDS = [0, 1e-3, 0.05, 0.5, 0.95, 0.999, 1]


@pytest.mark.parametrize('threshold', THRESHOLDS)
@pytest.mark.parametrize('dtype', [torch.float32, *LOW])
def test_least_logit_is_exceeded_where_the_sigmoid_exceeds(dtype, threshold):
    if dtype in LOW:  # all values of the type
        x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
        x = x[x.isfinite()]
    else:
        torch.manual_seed(0)
        edge = torch.tensor(threshold).logit(eps=1e-7)
        near = edge + 1e-5 * torch.randn(10**5)
        x = torch.cat([near, 30 * torch.randn(10**5)])
    above = x.sigmoid() > threshold
    likely = x > least_logit(threshold, dtype)
    assert not (above & ~likely).any()
    if threshold in (0.05, 0.5, 0.95):
        assert above.any()
        near = 1e-4 if dtype is torch.float32 else 0.7
        unlikely = x < torch.tensor(threshold).logit() - near
        assert unlikely.any() and not (likely & unlikely).any()


def score_maps(dtype=torch.float32, classes=3):
    """Logits of two anchors a pixel, and the head that they would be of."""
    torch.manual_seed(0)
    maps = [3 * torch.randn(2 * classes, *s) - 3 for s in SIZES]
    maps[2] -= 90  # a level without candidates
    return [m.to(dtype) for m in maps], stub_head(classes, 2, len(SIZES))


def by_loops(maps, threshold, count):
    """The pixel of each score above the threshold, level by level, at most
    ``count`` each, best first."""
    pixels, start = [], 0
    for level in maps:
        scores = level.sigmoid().flatten(1)
        above = [
            (-score, pixel)
            for pixel, column in enumerate(scores.T.tolist())
            for score in column
            if score > threshold
        ]
        pixels += [start + pixel for _, pixel in sorted(above)[:count]]
        start += scores.shape[1]
    return pixels


@pytest.mark.parametrize('threshold', THRESHOLDS)
@pytest.mark.parametrize('dtype', [torch.float32, *LOW])
@pytest.mark.parametrize('count', [20, 1000])
def test_candidates_are_those_of_all_pixels(dtype, threshold, count):
    maps, head = score_maps(dtype)
    cfg = dict(score_thr=threshold, nms_pre=count)
    expected, scores = stock_candidates(maps, head, cfg)
    pixels = candidate_pixels(maps, head, cfg, scores)
    assert torch.equal(pixels, expected)
    if dtype is torch.float32:  # no two scores are equal
        assert pixels.tolist() == by_loops(maps, threshold, count)
        assert bool(len(pixels)) == (threshold < 1)


def nothing(logits, threshold):
    return torch.zeros_like(logits[0], dtype=torch.bool)


def all_but_the_best(logits, threshold):
    best = logits.amax(dim=0)
    return best < best.max()


@pytest.mark.parametrize('guess', [nothing, all_but_the_best])
def test_a_wrong_guess_is_noticed(monkeypatch, guess):
    """Even if it gives as many candidates."""
    maps, head = score_maps()
    cfg = dict(score_thr=0.05, nms_pre=3)
    expected, scores = stock_candidates(maps, head, cfg)
    guesses = [guess(logits, 0.05) for logits in maps]
    seen = [m.where(mask, -100.0) for m, mask in zip(maps, guesses)]
    assert not torch.equal(stock_candidates(seen, head, cfg)[0], expected)
    monkeypatch.setattr(detections, 'likely_pixels', guess)
    assert torch.equal(candidate_pixels(maps, head, cfg, scores), expected)


def test_a_score_of_nan_hides_no_other():
    maps, head = score_maps()
    maps[0][0] = NAN
    cfg = dict(score_thr=0.05, nms_pre=20)
    expected, scores = stock_candidates(maps, head, cfg)
    assert torch.equal(candidate_pixels(maps, head, cfg, scores), expected)
    assert (expected < SIZES[0][0] * SIZES[0][1]).sum() == 20
