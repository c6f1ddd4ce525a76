import pytest
import torch
from support.helpers import all_locations, at_all_locations, pyramid

from projects.sprnet.pyramid import (
    flatten_pyramid,
    level_starts,
    locate,
    window_offsets,
    window_rows,
)

SIZES = [(5, 7), (3, 4), (1, 2), (1, 1)]
PLACES = [
    (level, y, x)
    for level, (h, w) in enumerate(SIZES)
    for y in range(h)
    for x in range(w)
]


def test_rows_are_the_locations_level_by_level_and_row_by_row():
    levels = pyramid(SIZES)
    rows = flatten_pyramid(levels).unflatten(0, (2, -1))
    for n in range(2):
        for location, (level, y, x) in enumerate(PLACES):
            assert torch.equal(rows[n, location], levels[level][n, :, y, x])
    assert torch.equal(rows.flatten(0, 1), at_all_locations(levels))


def test_locate_is_the_inverse_of_laying_out():
    _, locations = all_locations(SIZES, 1)
    level, place, size = locate(locations, SIZES)
    located = torch.cat([level[:, None], place], dim=1)
    assert [tuple(p) for p in located.tolist()] == PLACES
    sizes = [tuple(s) for s in size.tolist()]
    assert sizes == [SIZES[level] for level, _, _ in PLACES]
    first = [PLACES.index((level, 0, 0)) for level in range(len(SIZES))]
    assert level_starts(SIZES) == [*first, len(PLACES)]


@pytest.mark.parametrize('kernel', [1, 3, 5])
@pytest.mark.parametrize('dilation', [1, 2, 6])
def test_windows_against_loops(kernel, dilation):
    batch, length = 2, len(PLACES)
    offsets = window_offsets(kernel, dilation)
    rows, inside = window_rows(*all_locations(SIZES, batch), SIZES, offsets)
    index = {place: location for location, place in enumerate(PLACES)}
    reach = [i * dilation for i in range(-(kernel // 2), kernel // 2 + 1)]
    for n in range(batch):
        for (level, y, x), location in index.items():
            row = n * length + location
            taps = [
                index.get((level, y + dy, x + dx))
                for dy in reach
                for dx in reach
            ]
            within = [tap is not None for tap in taps]
            assert inside[row].tolist() == within
            expected = [0 if tap is None else n * length + tap for tap in taps]
            assert rows[row].tolist() == expected
