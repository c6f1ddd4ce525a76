"""Print the AP of masks and of their boundaries for several result files.

    python tools/test.py CONFIG CHECKPOINT --cfg-options \\
        test_evaluator.outfile_prefix=results/a
    python tools/boundary_ap.py ANNOTATIONS.json results/a.segm.json ...

prints COCO's AP, AP50, AP75 and AP of large objects for each file, once by
mask IoU and once by boundary IoU (Cheng et al., CVPR 2021), which counts only
pixels near an outline and so tells sharp masks from blurred ones. --classes
leaves out the objects and detections of all other classes. Needs
faster-coco-eval.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from common.cli import (
    existing,
    one_sentence,
    optional_packages,
    parser_of,
    require,
)

import numpy as np

from projects.sprnet.errors import InputError

with optional_packages() as MISSING:
    from faster_coco_eval import COCO, COCOeval_faster

IOU_TYPES = dict(segm='mask', boundary='boundary')
COLUMNS = dict(AP=0, AP50=1, AP75=2, AP_L=5)  # indices into COCOeval's stats


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('annotations', type=existing, help='COCO JSON')
    parser.add_argument(
        'results', type=existing, nargs='+', help='.segm.json of test.py'
    )
    parser.add_argument(
        '--classes', nargs='+', default=[], help='classes to evaluate (all)'
    )
    return parser.parse_args()


def read(file: Path) -> Any:
    """Read a JSON.

    Raises:
        InputError: It is none.
    """
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise InputError(f'{file} is not JSON: {error}') from error


def annotations_of(file: Path) -> 'COCO':
    """Read a COCO JSON; number its annotations from 1, because COCO's
    evaluation takes the id 0 for no match."""
    annotated = COCO()
    annotated.dataset = read(file)
    for number, one in enumerate(annotated.dataset['annotations'], start=1):
        one['id'] = number
    annotated.createIndex()
    return annotated


def category_ids(annotated: 'COCO', names: list[str]) -> list[int]:
    """Look up the ids of classes, those of all if none is named.

    Raises:
        InputError: The annotations have no category of a name.
    """
    ids = {c['name']: c['id'] for c in annotated.dataset['categories']}
    unknown = [name for name in names if name not in ids]
    if unknown:
        raise InputError(
            f'--classes {" ".join(unknown)} is not annotated; choose from '
            f'{", ".join(ids)}'
        )
    return [ids[name] for name in names or ids]


def evaluate(
    annotated: 'COCO', results: Path, ids: list[int], iou_type: str
) -> dict[str, float]:
    """Compute COLUMNS for a result file; -1 if no object is of that size.

    Args:
        ids: of the categories to evaluate.
        iou_type: one of IOU_TYPES.

    Raises:
        InputError: The file has no detections, or they have no masks.
    """
    detections = read(results)
    if not detections or 'segmentation' not in detections[0]:
        raise InputError(
            f'{results} has no masks; pass the .segm.json that test.py wrote'
        )
    # With boxes, detections would count as large by the area of the box.
    for detection in detections:
        detection.pop('bbox', None)
    detected = annotated.loadRes(detections)
    evaluation = COCOeval_faster(annotated, detected, iou_type)
    evaluation.params.catIds = ids
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    stats = np.asarray(evaluation.stats)
    return {name: float(stats[index]) for name, index in COLUMNS.items()}


def main() -> None:
    args = parse_args()
    require(MISSING)
    print(
        f'{"":32}{"":10}' + ''.join(f'{column:>7}' for column in COLUMNS),
        flush=True,
    )
    with one_sentence():
        annotated = annotations_of(args.annotations)
        ids = category_ids(annotated, args.classes)
        for results in args.results:
            for iou_type, name in IOU_TYPES.items():
                row = evaluate(annotated, results, ids, iou_type)
                cells = ''.join(f'{value:7.3f}' for value in row.values())
                print(f'{results.stem:32}{name:10}{cells}', flush=True)


if __name__ == '__main__':
    main()
