import torch

from projects.sprnet.boxes import enlarged, jittered

BOXES = torch.tensor(
    [
        [40, 30, 52, 44],
        [20.5, 60.25, 45, 83],
        [70, 10, 120, 60],
        [30, 20, 128, 110],
        [-20, -30, 150, 160],
    ]
)


def test_a_frame_has_the_boxs_centre():
    assert torch.equal(enlarged(BOXES, 1), BOXES)
    wide = enlarged(torch.tensor([[10.0, 20, 30, 60]]), 1.2)
    torch.testing.assert_close(wide, torch.tensor([[8.0, 16, 32, 64]]))


def test_jitter_is_normal_and_cut_at_two_deviations():
    torch.manual_seed(0)
    many = BOXES.repeat(2000, 1)
    sides = (many[:, 2:] - many[:, :2]).repeat(1, 2)
    shifts = (jittered(many, 0.08) - many) / sides
    assert shifts.abs().max() <= 0.1601
    assert shifts.mean(0).abs().max() < 0.005
    assert (shifts.std(0) - 0.077).abs().max() < 0.004
    assert torch.equal(jittered(many, 0), many)
