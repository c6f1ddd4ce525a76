import torch
from helpers import CONFIGS, build_model, sample

from projects.sprnet.masks import maskness

CONFIG = CONFIGS / 'plus' / 'sprnet_r18_gfpn_plus-maskness_shapes.py'


def test_maskness_is_the_mean_over_a_masks_cells():
    torch.manual_seed(0)
    maps = torch.rand(5, 4, 4)
    maps[3] = 0.1  # no cell of it is mask
    for one, measured in zip(maps, maskness(maps, 0.5)):
        cells = [p for p in one.flatten().tolist() if p >= 0.5]
        expected = sum(cells) / len(cells) if cells else 0
        assert abs(measured - expected) < 1e-6


def test_only_the_masks_get_another_score():
    plain, rated = build_model().eval(), build_model(CONFIG).eval()
    torch.nn.init.normal_(plain.mask_head.decoder.classifier.weight)
    rated.load_state_dict(plain.state_dict())
    for model in (plain, rated):
        model.bbox_head.test_cfg.score_thr = 0.0
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        (plain,), (rated,) = (
            m.predict(images, [sample([], [], (96, 128))])
            for m in (plain, rated)
        )
    plain, rated = plain.pred_instances, rated.pred_instances
    for field in ('bboxes', 'scores', 'labels', 'pixels', 'masks'):
        assert torch.equal(plain[field], rated[field]), field
    ratio = rated.mask_scores / rated.scores
    assert len(ratio) == 100 and ratio.unique().numel() > 10
    assert ((ratio == 0) | ((ratio >= 0.5) & (ratio <= 1))).all()
