"""The pure functions against slow ones, on random shapes and empty ones."""

from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmdet.structures.mask import BitmapMasks
from mmengine.config import ConfigDict
from pycocotools import mask as coco_mask
from support.helpers import INF, NAN, retina_head, stock_candidates

from projects.sprnet import (
    detections,
    locations,
    mask_targets,
    pasting,
    pyramid,
    rle,
)

examples = settings(max_examples=40, deadline=None, derandomize=True)


@st.composite
def boxes(draw, least=0, most=9):
    """(n, 4), some of them empty, many similar."""
    count = draw(st.integers(least, most))
    corners = draw(arrays(np.float32, (count, 2, 2), elements=halves))
    return torch.from_numpy(np.sort(corners, axis=1).reshape(-1, 4))


halves = st.integers(-16, 48).map(lambda value: value / 2)


def iou(a, b):
    """In single precision, exact up to the one division."""
    a, b = np.float32(a), np.float32(b)
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = np.prod(np.maximum(sides, 0))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
    return float(shared / union) if shared else 0.0


def ious(first, second):
    table = [[iou(a, b) for b in second.numpy()] for a in first.numpy()]
    return np.array(table).reshape(len(first), len(second))


def per_location(anchors, count):
    """(L, count, 4) of anchors, without the remainder."""
    return anchors[: len(anchors) // count * count].view(-1, count, 4)


@examples
@given(boxes(), boxes(), st.integers(1, 3), st.sampled_from([0, 0.1, 0.5]))
def test_positive_locations(anchors, objects, count, threshold):
    anchors = per_location(anchors, count)
    assume(len(anchors))
    assigned = locations.assign_locations(anchors, objects)
    positives = locations.positive_locations(assigned, threshold)
    expected = []
    for location, its_anchors in enumerate(anchors):
        table = ious(its_anchors, objects)
        if table.size and table.max() > threshold:
            anchor, index = np.unravel_index(table.argmax(), table.shape)
            expected.append((location, index))
            row = (table.max(), anchor, index)
            assert tuple(field[location] for field in assigned[:3]) == row
    assert list(zip(*(t.tolist() for t in positives))) == expected


@examples
@given(boxes(least=3), boxes(), st.integers(1, 3), st.integers(1, 4))
def test_assigned_locations(anchors, objects, per, at_once):
    anchors = per_location(anchors, per)
    with patch.object(locations, 'BOXES_AT_ONCE', at_once):
        best = locations.assign_locations(anchors, objects)
    table = ious(objects, anchors.flatten(0, 1))
    table = table.reshape(len(objects), len(anchors), per)
    of_locations = table.max(axis=2)
    assert best.locations.tolist() == of_locations.argmax(axis=1).tolist()
    assert best.of_objects.tolist() == of_locations.max(axis=1).tolist()
    if not len(objects):
        table = np.zeros((1, len(anchors), per))
    assert best.overlaps.tolist() == table.max(axis=(0, 2)).tolist()
    of_anchors = table.max(axis=0)
    assert best.anchors.tolist() == of_anchors.argmax(axis=1).tolist()
    chosen = of_anchors.argmax(axis=1), range(len(anchors))
    nearest = table[:, chosen[1], chosen[0]].argmax(axis=0)
    assert best.objects.tolist() == nearest.tolist()


sizes = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4
)


@examples
@given(
    sizes,
    st.integers(1, 3),
    st.integers(0, 8),
    st.sampled_from([1, 3, 5]),
    st.integers(1, 4),
    st.data(),
)
def test_windows_are_unfolds_of_the_locations_levels(
    sizes, batch, count, kernel, dilation, data
):
    feats = [
        torch.arange(batch * 2 * h * w).view(batch, 2, h, w) + 1000.0 * level
        for level, (h, w) in enumerate(sizes)
    ]
    length = sum(h * w for h, w in sizes)
    pictures, chosen = (
        torch.tensor(data.draw(arrays(int, count, elements=values)))
        for values in (st.integers(0, batch - 1), st.integers(0, length - 1))
    )
    offsets = pyramid.window_offsets(kernel, dilation)
    taps, inside = pyramid.window_rows(pictures, chosen, sizes, offsets)
    windows = pyramid.flatten_pyramid(feats)[taps] * inside[..., None]
    located, place, _ = pyramid.locate(chosen, sizes)
    assert windows.shape == (count, kernel**2, 2)
    for picture, location, level, (y, x), window in zip(
        pictures, chosen, located, place, windows
    ):
        before = sum(h * w for h, w in sizes[:level])
        assert location == before + y * sizes[level][1] + x
        dense = F.unfold(
            feats[level], kernel, dilation, padding=kernel // 2 * dilation
        )
        expected = dense[picture, :, location - before].view(2, -1).T
        assert torch.equal(window, expected)


@examples
@given(
    st.integers(0, 7),
    st.integers(1, 4),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.integers(1, 4),
    st.data(),
)
def test_crops_are_means_of_their_cells(count, size, extent, at_once, data):
    """For boxes within the image, with cells of whole pixels."""
    height, width = extent
    assume(min(extent) >= size)
    bits = data.draw(arrays(np.uint8, (count, *extent), elements=bit))
    corners, expected = [], []
    for mask in bits:
        h, w = (data.draw(st.integers(1, side // size)) for side in extent)
        y = data.draw(st.integers(0, height - h * size))
        x = data.draw(st.integers(0, width - w * size))
        corners.append([x, y, x + w * size, y + h * size])
        crop = mask[y : y + h * size, x : x + w * size]
        cells = crop.reshape(size, h, size, w).sum(axis=(1, 3))
        expected.append(cells * 2 >= h * w)
    corners = torch.tensor(corners, dtype=torch.float32).view(-1, 4)
    with patch.object(mask_targets, 'MASKS_AT_ONCE', at_once):
        targets = mask_targets.mask_targets(
            BitmapMasks(bits, height, width),
            torch.arange(count),
            corners,
            size,
        )
    expected = np.array(expected, np.float32).reshape(-1, size, size)
    assert np.array_equal(targets.numpy(), expected)


bit = st.integers(0, 1)


@st.composite
def pastes(draw):
    """Arguments of mask_windows; boxes of every kind."""
    count, cells = draw(st.integers(0, 6)), draw(st.integers(1, 5))
    height, width = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    quarters = st.integers(-40, 120).map(lambda value: value / 4)
    edges = st.one_of(quarters, st.sampled_from([NAN, INF, -INF, 1e30]))
    corners = draw(arrays(np.float64, (count, 4), elements=edges))
    grids = draw(
        arrays(
            np.float64,
            (count, cells, cells),
            elements=st.floats(0, 1, allow_subnormal=False),
        )
    )
    threshold = draw(st.sampled_from([0.0, 0.3, 0.5, 1.0]))
    grids, corners = torch.from_numpy(grids), torch.from_numpy(corners)
    return grids, corners, (height, width), threshold


def resized(grid, corners, height, width):
    """Values of an image's pixels, NaN outside of the box."""
    (x1, y1, x2, y2), cells = corners, len(grid)
    image = np.full((height, width), NAN)
    rows = [y for y in range(height) if y1 <= y + 0.5 < y2]
    columns = [x for x in range(width) if x1 <= x + 0.5 < x2]
    for y in rows:
        v = (y + 0.5 - y1) / (y2 - y1) * cells - 0.5
        line = [np.interp(v, range(cells), column) for column in grid.T]
        for x in columns:
            u = (x + 0.5 - x1) / (x2 - x1) * cells - 0.5
            image[y, x] = np.interp(u, range(cells), line)
    return image


@examples
@given(
    pastes(),
    st.sampled_from([1, 7, 60, 2**20]),
    st.sampled_from([1, 2, 64]),
)
def test_pasting_and_run_lengths(paste, pixels, at_once):
    grids, corners, size, threshold = paste
    with (
        patch.object(pasting, 'ON_CPU_AT_ONCE', pixels),
        patch.object(pasting, 'MASKS_AT_ONCE', at_once),
        patch.object(pasting, 'ON_GPU_AT_ONCE', pixels),
    ):
        windows = list(pasting.mask_windows(*paste[:3]))
        images = pasting.paste_one_by_one(*paste).numpy()
        runs = rle.rle_masks(*paste)
        (together,) = pasting.paste_together(
            grids, [corners], [size], threshold
        )
    for pasted in images, together.numpy():
        assert pasted.shape == (len(grids), *size)
        for grid, box, image in zip(grids.numpy(), corners.numpy(), pasted):
            if not np.isfinite(box).all():
                continue
            values = resized(grid, box, *size)
            sure = ~(np.abs(values - threshold) < 1e-9)
            assert np.array_equal(image[sure], (values >= threshold)[sure])
    covered = np.zeros(images.shape, int)
    for index, top, left, values in windows:
        rows, columns = values.shape
        assert min(top, left, rows - 1, columns - 1) >= 0
        assert top + rows <= size[0] and left + columns <= size[1]
        covered[index, top : top + rows, left : left + columns] += 1
    assert covered.max(initial=0) <= 1
    encoded = [
        coco_mask.encode(np.asfortranarray(image, np.uint8))
        for image in images
    ]
    assert runs == encoded


@examples
@given(
    sizes,
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.05, 0.5, 0.9, 1.0]),
    st.sampled_from([1, 3, 1000]),
    st.data(),
)
def test_candidates_are_the_stock_selections_also_of_equal_scores(
    sizes, classes, per_location, threshold, count, data
):
    head = retina_head(classes, per_location, len(sizes))
    values = st.sampled_from([-INF, -3, 0, 0.5, 3, INF, NAN])
    channels = classes * per_location
    maps = [
        torch.from_numpy(
            data.draw(arrays(np.float32, (channels, *s), elements=values))
        )
        for s in sizes
    ]
    cfg = ConfigDict(score_thr=threshold, nms_pre=count)
    expected, _ = stock_candidates(maps, head, cfg)
    outs = (
        [m[None] for m in maps],
        [torch.zeros(1, 4 * per_location, *s) for s in sizes],
    )
    meta = dict(img_shape=(64, 64))
    (found,) = detections.candidates(head, outs, [meta], cfg, rescale=False)
    assert found.locations.tolist() == expected.tolist()
