"""The checker raises no exception, whatever a JSON or an image contains, and
MMDetection loads what it passes."""

import copy
import json
from contextlib import suppress

from common.configs import leaves

import cv2
import numpy as np
import pytest
from dataset_check.objects import check_mask, decode_counts
from dataset_check.report import count, report
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from support.coco_files import HEIGHT, WIDTH, coco, faults_in, loaded, write

bounded = settings(max_examples=40, deadline=None, derandomize=True)
# Those that check and load a whole data set
fewer = settings(bounded, max_examples=15)

NUMBERS = st.one_of(
    st.integers(-3, 70),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**400, 1e30, 39.5, True]),
)
VALUES = st.recursive(
    st.one_of(st.none(), NUMBERS, st.text(max_size=9), st.just('../1.jpg')),
    lambda inner: st.one_of(
        st.lists(inner, max_size=8),
        st.lists(NUMBERS, max_size=8),
        st.dictionaries(st.sampled_from(['size', 'counts', 'id']), inner),
    ),
    max_leaves=6,
)
PATHS = [key.split('.') for key, _ in leaves(coco())]
# Also the paths of the lists and objects around them
PATHS += [path[:n] for path in PATHS for n in range(1, len(path))]
CHANGES = st.lists(
    st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=3
)


def key(name, node):
    return int(name) if isinstance(node, list) else name


def put(data, path, value):
    """Set the value at a path, if the path still exists."""
    *parents, last = path
    with suppress(KeyError, IndexError, TypeError, ValueError):
        for name in parents:
            data = data[key(name, data)]
        data[key(last, data)] = value


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('fuzz')
    write(folder)
    return folder


def errors(faults):
    """Count the errors; the report of all faults must be printable."""
    '\n'.join(report(faults, first=99)).encode()
    return count(faults, 'error')


@fewer
@given(changes=CHANGES)
def test_a_json_of_anything(changes, folder):
    data = copy.deepcopy(coco())
    for path, value in changes:
        put(data, path, value)
    (folder / 'coco.json').write_text(json.dumps(data))
    assert errors(faults_in(folder)) or loaded(folder)


@fewer
@given(start=st.floats(0, 1), end=st.floats(0, 1), new=st.binary(max_size=9))
def test_a_file_of_anything(start, end, new, folder):
    text = json.dumps(coco()).encode()
    start = int(start * len(text))
    rest = text[max(start, int(end * len(text))) :]
    (folder / 'coco.json').write_bytes(text[:start] + new + rest)
    assert errors(faults_in(folder)) or loaded(folder)


@bounded
@given(values=st.lists(st.floats(-90, 90), min_size=6, max_size=12))
def test_a_polygon_of_anything(values):
    """A polygon is empty if pycocotools draws no pixel of it."""
    findings = dict(check_mask([values], HEIGHT, WIDTH, evaluated=True))
    if 'short polygon' in findings:
        return
    (rle,) = coco_mask.frPyObjects([values], HEIGHT, WIDTH)
    assert ('empty mask' in findings) == (coco_mask.decode(rle).sum() == 0)


@bounded
@given(
    runs=st.lists(st.integers(0, 200), max_size=12),
    place=st.floats(0, 1),
    new=st.characters(min_codepoint=40, max_codepoint=120),
)
def test_run_lengths_of_anything(runs, place, new):
    """Run lengths that pass are decoded as pycocotools does."""
    size = [HEIGHT, WIDTH]
    runs = [*runs, HEIGHT * WIDTH - sum(runs)]
    rle = coco_mask.frPyObjects(dict(size=size, counts=runs), *size)
    counts = rle['counts'].decode()
    assert decode_counts(counts) == runs
    place = int(place * len(counts))
    mask = dict(size=size, counts=counts[:place] + new + counts[place + 1 :])
    findings = check_mask(mask, *size, evaluated=False)
    if not findings or findings[0][0] == 'empty mask':
        runs = decode_counts(mask['counts'])
        pixels = np.repeat(np.arange(len(runs)) % 2, runs)
        drawn = coco_mask.decode(mask).ravel(order='F')
        assert np.array_equal(drawn, pixels)


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@fewer
@given(
    places=st.lists(st.floats(0, 1), max_size=3),
    value=st.integers(0, 255),
    cut=st.floats(0, 1),
)
def test_an_image_of_anything(suffix, places, value, cut, folder):
    pixels = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3))
    content = bytearray(cv2.imencode(suffix, pixels)[1].tobytes())
    for place in places:
        content[int(place * (len(content) - 1))] = value
    content = content[: int(cut * len(content)) or None]
    (folder / f'fuzz{suffix}').write_bytes(content)
    data = coco()
    data['images'][0]['file_name'] = f'fuzz{suffix}'
    (folder / 'coco.json').write_text(json.dumps(data))
    assert errors(faults_in(folder)) or loaded(folder)
