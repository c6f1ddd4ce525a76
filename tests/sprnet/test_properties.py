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
    decoder,
    detections,
    mask_targets,
    pasting,
    pixels,
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


@examples
@given(boxes(least=1), boxes(), st.integers(1, 4))
def test_best_overlaps(anchors, objects, at_once):
    with patch.object(pixels, 'BOXES_AT_ONCE', at_once):
        best = pixels.best_overlaps(anchors, objects)
    table = ious(anchors, objects)
    assert best.of_boxes.tolist() == table.max(axis=0).tolist()
    assert best.anchors.tolist() == table.argmax(axis=0).tolist()
    if not len(objects):
        table = np.zeros((len(anchors), 1))
    assert best.of_anchors.tolist() == table.max(axis=1).tolist()
    assert best.boxes.tolist() == table.argmax(axis=1).tolist()


def per_pixel(anchors, count):
    """(L, count, 4) of anchors, without the remainder."""
    return anchors[: len(anchors) // count * count].view(-1, count, 4)


@examples
@given(boxes(), boxes(), st.integers(1, 3), st.sampled_from([0, 0.1, 0.5]))
def test_positive_pixels(anchors, objects, count, threshold):
    anchors = per_pixel(anchors, count)
    assume(len(anchors))
    positives = pixels.positive_pixels(anchors, objects, threshold)
    assigned = pixels.assign_pixels(anchors, objects)
    expected = []
    for pixel, its_anchors in enumerate(anchors):
        table = ious(its_anchors, objects)
        if table.size and table.max() > threshold:
            anchor, instance = np.unravel_index(table.argmax(), table.shape)
            expected.append((pixel, instance))
            row = (table.max(), anchor, instance)
            assert tuple(field[pixel] for field in assigned) == row
    assert list(zip(*(t.tolist() for t in positives))) == expected


@examples
@given(boxes(least=3), boxes(), st.integers(1, 3), st.integers(1, 4))
def test_best_pixels(anchors, objects, per, at_once):
    anchors = per_pixel(anchors, per)
    with patch.object(pixels, 'BOXES_AT_ONCE', at_once):
        best, overlaps = pixels.best_pixels(anchors, objects)
    table = ious(objects, anchors.flatten(0, 1))
    table = table.reshape(len(objects), len(anchors), per).max(axis=2)
    assert best.tolist() == table.argmax(axis=1).tolist()
    assert overlaps.tolist() == table.max(axis=1).tolist()


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
def test_windows_are_unfolds_of_the_pixels_levels(
    sizes, batch, count, kernel, dilation, data
):
    feats = [
        torch.arange(batch * 2 * h * w).view(batch, 2, h, w) + 1000.0 * level
        for level, (h, w) in enumerate(sizes)
    ]
    length = sum(h * w for h, w in sizes)
    indices, chosen = (
        torch.tensor(data.draw(arrays(int, count, elements=values)))
        for values in (st.integers(0, batch - 1), st.integers(0, length - 1))
    )
    offsets = pyramid.window_offsets(kernel, dilation)
    taps = pyramid.window_rows(indices, chosen, sizes, offsets)
    windows = pyramid.flatten_pyramid(feats)[taps]
    located = zip(*(t.tolist() for t in pyramid.locate(chosen, sizes)))
    assert windows.shape == (count, kernel**2, 2)
    for image, pixel, (level, y, x), window in zip(
        indices, chosen, located, windows
    ):
        before = sum(h * w for h, w in sizes[:level])
        assert pixel == before + y * sizes[level][1] + x
        dense = F.unfold(
            feats[level], kernel, dilation, padding=kernel // 2 * dilation
        )
        expected = dense[image, :, pixel - before].view(2, -1).T
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
    return grids, corners, height, width, threshold


def resized(grid, corners, height, width):
    """Values of an image's pixels, NaN outside of the box."""
    (x1, y1, x2, y2), cells = corners, len(grid)
    image = np.full((height, width), NAN)
    rows = [y for y in range(height) if y1 <= y + 0.5 < y2]
    columns = [x for x in range(width) if x1 <= x + 0.5 < x2]
    if not np.isfinite(corners).all():
        return image
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
    st.sampled_from([0, 50, 2**16]),
)
def test_pasting_and_run_lengths(paste, at_once, padding):
    grids, corners, height, width, threshold = paste
    with (
        patch.object(pasting, 'ON_CPU', pasting.Budget(at_once, padding)),
        patch.object(rle, 'COPIED_AT_ONCE', 3 * at_once),
    ):
        parts = list(pasting.mask_windows(*paste))
        images = pasting.paste_masks(*paste).numpy()
        runs = rle.rle_masks(*paste)
    assert images.shape == (len(grids), height, width)
    for grid, box, image in zip(grids.numpy(), corners.numpy(), images):
        if not np.isfinite(box).all():
            continue
        values = resized(grid, box, height, width)
        sure = ~(np.abs(values - threshold) < 1e-9)
        assert np.array_equal(image[sure], (values >= threshold)[sure])
    covered = np.zeros(images.shape, int)
    for windows in parts:
        rows, columns = windows.inside.shape[1:]
        for index, top, left in zip(*windows[:3]):
            assert min(top, left, rows - 1, columns - 1) >= 0
            assert top + rows <= height and left + columns <= width
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
    sizes, classes, per_pixel, threshold, count, data
):
    head = retina_head(classes, per_pixel, len(sizes))
    values = st.sampled_from([-INF, -3, 0, 0.5, 3, INF, NAN])
    maps = [
        torch.from_numpy(
            data.draw(
                arrays(np.float32, (classes * per_pixel, *s), elements=values)
            )
        )
        for s in sizes
    ]
    cfg = ConfigDict(score_thr=threshold, nms_pre=count)
    expected, _ = stock_candidates(maps, head, cfg)
    outs = (
        [m[None] for m in maps],
        [torch.zeros(1, 4 * per_pixel, *s) for s in sizes],
    )
    meta = dict(img_shape=(64, 64))
    (found,) = detections.candidates(head, outs, [meta], cfg, rescale=False)
    assert found.pixels.tolist() == expected.tolist()


@examples
@given(st.lists(st.integers(0, 5), max_size=12))
def test_index_within_group(owners):
    index, largest = decoder.index_within_group(torch.tensor(owners).long())
    assert index.tolist() == [
        owners[:i].count(owner) for i, owner in enumerate(owners)
    ]
    assert largest == max(map(owners.count, owners), default=0)
