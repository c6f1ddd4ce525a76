import pytest
import torch
from support.helpers import all_pixels, at_all_pixels, pyramid

from projects.sprnet.pyramid import (
    flatten_pyramid,
    locate,
    window_offsets,
    window_rows,
)

SIZES = [(5, 7), (3, 4), (1, 2), (1, 1)]


def test_rows_are_the_pixels_level_by_level_and_row_by_row():
    feats = pyramid(SIZES)
    rows = flatten_pyramid(feats).unflatten(0, (2, -1))
    assert torch.equal(rows[:, :-1].flatten(0, 1), at_all_pixels(feats))
    assert not rows[:, -1].any()


def test_locate_is_the_inverse_of_laying_out():
    _, pixels = all_pixels(SIZES, 1)
    expected = [
        (level, y, x)
        for level, (h, w) in enumerate(SIZES)
        for y in range(h)
        for x in range(w)
    ]
    located = torch.stack(locate(pixels, SIZES), dim=1)
    assert [tuple(p) for p in located.tolist()] == expected


@pytest.mark.parametrize('kernel', [1, 3, 5])
@pytest.mark.parametrize('dilation', [1, 2, 6])
def test_windows_against_loops(kernel, dilation):
    batch = 2
    offsets = window_offsets(kernel, dilation)
    rows = window_rows(*all_pixels(SIZES, batch), SIZES, offsets)
    index = {}
    for level, (h, w) in enumerate(SIZES):
        for y in range(h):
            for x in range(w):
                index[level, y, x] = len(index)
    length = len(index)
    reach = [i * dilation for i in range(-(kernel // 2), kernel // 2 + 1)]
    for n in range(batch):
        for (level, y, x), pixel in index.items():
            expected = [
                n * (length + 1) + index.get((level, y + dy, x + dx), length)
                for dy in reach
                for dx in reach
            ]
            assert rows[n * length + pixel].tolist() == expected
