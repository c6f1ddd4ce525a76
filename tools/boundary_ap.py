"""AP of masks and of their boundaries, for the results of several models.

    python tools/test.py CONFIG CHECKPOINT --cfg-options \\
        test_evaluator.outfile_prefix=results/a
    python tools/boundary_ap.py ANNOTATIONS.json results/a.segm.json ...

prints, of each file, COCO's AP, AP50, AP75 and AP of large objects, by masks'
IoU and by boundary IoU (Cheng et al., CVPR 2021), which counts only what lies
near either outline and so tells sharp masks from blurred ones. --classes
leaves out all other objects and detections. Computed by faster-coco-eval.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from common.cli import existing, one_sentence, parser_of
from faster_coco_eval import COCO, COCOeval_faster

MEASURES = dict(segm='mask', boundary='boundary')
COLUMNS = dict(AP=0, AP50=1, AP75=2, AP_L=5)  # places in COCOeval's stats


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('annotations', type=existing)
    parser.add_argument('results', type=existing, nargs='+')
    parser.add_argument(
        '--classes', nargs='+', default=[], help='of these only (all)'
    )
    return parser.parse_args()


def category_ids(annotated: COCO, names: list[str]) -> list[int]:
    """Ids of classes, of all where none is named.

    Raises:
        ValueError: A name that is not among the annotations' categories.
    """
    ids = {c['name']: c['id'] for c in annotated.dataset['categories']}
    unknown = [name for name in names if name not in ids]
    if unknown:
        raise ValueError(
            f'no class {", ".join(unknown)}; there are {", ".join(ids)}'
        )
    return [ids[name] for name in names or ids]


def figures(
    annotated: COCO, results: Path, ids: list[int], measure: str
) -> dict[str, float]:
    """The COLUMNS of a result file, -1 where there is no such object.

    Raises:
        ValueError: It is empty, or its detections are no masks.
    """
    found = json.loads(results.read_text())
    if not found or 'segmentation' not in found[0]:
        raise ValueError(f'{results} holds no masks of detections')
    # With boxes in them, objects would count as large by their boxes.
    for one in found:
        one.pop('bbox', None)
    detected = annotated.loadRes(found)
    evaluation = COCOeval_faster(annotated, detected, measure)
    evaluation.params.catIds = ids
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    stats = np.asarray(evaluation.stats)
    return {name: float(stats[place]) for name, place in COLUMNS.items()}


def main() -> None:
    args = parse_args()
    print(
        f'{"":32}{"":10}' + ''.join(f'{column:>7}' for column in COLUMNS),
        flush=True,
    )
    with one_sentence():
        annotated = COCO(str(args.annotations))
        ids = category_ids(annotated, args.classes)
        for results in args.results:
            for measure, name in MEASURES.items():
                row = figures(annotated, results, ids, measure)
                cells = ''.join(f'{value:7.3f}' for value in row.values())
                print(f'{results.stem:32}{name:10}{cells}', flush=True)


if __name__ == '__main__':
    main()
