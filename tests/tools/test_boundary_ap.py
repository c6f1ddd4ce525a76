"""AP of masks and boundaries, of result files."""

import json

import cv2
import numpy as np
import pytest
from boundary_ap import main
from pycocotools import mask as coco_mask

SIZE = 200
NAMES = ('disc', 'ring')


def rle(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(encoded, counts=encoded['counts'].decode())


def masks():
    """A large disc and a large ring."""
    y, x = np.mgrid[:SIZE, :SIZE]
    radius = np.hypot(y - 100, x - 100)
    return radius < 60, (radius < 60) & (radius > 40)


@pytest.fixture
def files(tmp_path):
    """Annotations, right results, and results of masks that are too small."""
    truth = dict(
        images=[dict(id=1, height=SIZE, width=SIZE)],
        categories=[dict(id=i, name=n) for i, n in enumerate(NAMES, 1)],
        annotations=[
            dict(
                id=i,
                image_id=1,
                category_id=i,
                iscrowd=0,
                area=int(mask.sum()),
                bbox=[40, 40, 120, 120],
                segmentation=rle(mask),
            )
            for i, mask in enumerate(masks(), 1)
        ],
    )
    small = [cv2.erode(m.astype(np.uint8), np.ones((5, 5))) for m in masks()]
    results = dict(
        right=[
            dict(image_id=1, category_id=i, score=0.9, segmentation=rle(m))
            for i, m in enumerate(masks(), 1)
        ],
        small=[
            dict(image_id=1, category_id=i, score=0.9, segmentation=rle(m))
            for i, m in enumerate(small, 1)
        ],
    )
    paths = [tmp_path / 'truth.json']
    paths[0].write_text(json.dumps(truth))
    for name, found in results.items():
        paths.append(tmp_path / f'{name}.segm.json')
        paths[-1].write_text(json.dumps(found))
    return paths


def table(monkeypatch, capsys, *words):
    """The printed figures, by file and measure."""
    monkeypatch.setattr('sys.argv', ['boundary_ap.py', *map(str, words)])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ['AP', 'AP50', 'AP75', 'AP_L']
    rows = [line.split() for line in lines[1:]]
    return {(r[0], r[1]): [float(v) for v in r[2:]] for r in rows}


def test_what_is_right_and_what_is_too_small(files, monkeypatch, capsys):
    found = table(monkeypatch, capsys, *files)
    assert found['right.segm', 'mask'] == [1, 1, 1, 1]
    assert found['right.segm', 'boundary'] == [1, 1, 1, 1]
    mask, boundary = (found['small.segm', m] for m in ('mask', 'boundary'))
    disc, ring = masks()
    assert mask[1] == 1 > mask[0]
    assert boundary[0] < mask[0]


def test_of_some_classes(files, monkeypatch, capsys):
    found = table(monkeypatch, capsys, *files, '--classes', 'disc')
    assert found['small.segm', 'mask'][2] == 1
    monkeypatch.setattr(
        'sys.argv', ['boundary_ap.py', *map(str, files), '--classes', 'cone']
    )
    with pytest.raises(SystemExit, match='no class cone; there are disc, r'):
        main()


def test_results_without_masks(files, monkeypatch):
    for content in ([], [dict(image_id=1, category_id=1, score=1, bbox=[])]):
        files[1].write_text(json.dumps(content))
        monkeypatch.setattr('sys.argv', ['boundary_ap.py', *map(str, files)])
        with pytest.raises(SystemExit, match='holds no masks'):
            main()
