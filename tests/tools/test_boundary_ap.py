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


def detections(masks):
    return [
        dict(image_id=1, category_id=i, score=0.9, segmentation=rle(mask))
        for i, mask in enumerate(masks, 1)
    ]


@pytest.fixture
def files(tmp_path):
    """Annotations of a large disc and a large ring, exact results, and results
    with masks that are too small."""
    y, x = np.mgrid[:SIZE, :SIZE]
    radius = np.hypot(y - 100, x - 100)
    masks = radius < 60, (radius < 60) & (radius > 40)
    annotations = [
        dict(
            one,
            id=one['category_id'] - 1,  # 0 is no match in COCO's evaluation
            iscrowd=0,
            area=int(mask.sum()),
            bbox=[40, 40, 120, 120],
        )
        for one, mask in zip(detections(masks), masks)
    ]
    small = [cv2.erode(m.astype(np.uint8), np.ones((5, 5))) for m in masks]
    contents = {
        'truth.json': dict(
            images=[dict(id=1, height=SIZE, width=SIZE)],
            categories=[dict(id=i, name=n) for i, n in enumerate(NAMES, 1)],
            annotations=annotations,
        ),
        'exact.segm.json': detections(masks),
        'small.segm.json': detections(small),
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(json.dumps(content))
    return [tmp_path / name for name in contents]


@pytest.fixture
def table(monkeypatch, capsys):
    """Run the command; its figures by file and IoU."""

    def run(*words):
        monkeypatch.setattr('sys.argv', ['boundary_ap.py', *map(str, words)])
        main()
        head, *rows = map(str.split, capsys.readouterr().out.splitlines())
        assert head == ['AP', 'AP50', 'AP75', 'AP_L']
        return {(r[0], r[1]): [float(v) for v in r[2:]] for r in rows}

    return run


def test_exact_masks_and_small_masks(files, table):
    figures = table(*files)
    assert figures['exact.segm', 'mask'] == [1, 1, 1, 1]
    assert figures['exact.segm', 'boundary'] == [1, 1, 1, 1]
    mask, boundary = (figures['small.segm', m] for m in ('mask', 'boundary'))
    assert mask[1] == 1 > mask[0]
    assert boundary[0] < mask[0]


def test_some_classes(files, table):
    assert table(*files)['small.segm', 'mask'][2] < 1
    only_disc = table(*files, '--classes', 'disc')
    assert only_disc['small.segm', 'mask'][2] == 1
    with pytest.raises(SystemExit, match='--classes cone .* disc, ring'):
        table(*files, '--classes', 'cone')


@pytest.mark.parametrize(
    'content', [[], [dict(image_id=1, category_id=1, score=1, bbox=[])]]
)
def test_results_without_masks(files, table, content):
    files[1].write_text(json.dumps(content))
    with pytest.raises(SystemExit, match=f'{files[1]} has no masks'):
        table(*files)


def test_a_file_that_is_no_json(files, table):
    files[2].write_text('{')
    with pytest.raises(SystemExit, match=f'{files[2]} is not JSON: '):
        table(*files)
