import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from tempfile import TemporaryDirectory

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval, COCOevalMP
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.fileio import load
from mmengine.logging import print_log
from terminaltables import AsciiTable

from ..errors import InputError
from ..options import check_list

SIZES = dict(s=1, m=2, l=3)  # index in COCOeval's areaRng
TITLE = 'average precisions and recalls'  # of the table in the log


@METRICS.register_module()
class CocoAPARMetric(CocoMetric):
    """Report COCO's figures under their right names (Tables 2 to 7).

    These are CocoMetric's average precisions, such as ``segm_mAP_50``, and
    average recalls, such as ``segm_AR_10``: ``AR_N`` for each limit N of
    ``proposal_nums``, ``AR_s``, ``AR_m`` and ``AR_l`` for small, medium and
    large objects. All figures but ``AR_N`` are at the largest limit. Values
    are between 0 and 1, or -1 without objects of that size or class.

    Only the images that were tested count, which a warning says if the
    annotation file has more, as with a data set's ``indices``.

    An object without a segmentation counts in the box figures only. In the
    mask figures its box is a region to ignore, like a crowd: a detection in it
    is neither right nor wrong.

    Args:
        proposal_nums (Sequence[int]): How many detections of a class count in
            an image. The model's ``test_cfg.max_per_img`` limits them too.
            Defaults to COCO's (1, 10, 100).
        kwargs: See CocoMetric; ``metric_items`` is fixed.

    Raises:
        InputError: ``metric`` contains anything but 'bbox' and 'segm', or
            ``proposal_nums`` anything but whole numbers of at least 1.
    """

    def __init__(
        self, proposal_nums: Sequence[int] = (1, 10, 100), **kwargs
    ) -> None:
        check_list(self, proposal_nums=proposal_nums)
        self.ann_file = kwargs.get('ann_file')
        self._files: dict[str, str] = {}
        with redirect_stdout(None):  # pycocotools prints its steps
            super().__init__(
                proposal_nums=sorted(set(proposal_nums)),
                metric_items=None,
                **kwargs,
            )
        unsupported = set(self.metrics) - {'bbox', 'segm'}
        if unsupported:
            raise InputError(
                f'CocoAPARMetric: metric={self.metrics} must be bbox, segm or '
                f'both; use CocoMetric for {sorted(unsupported)}'
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the figures of (ground truth, prediction) pairs, by name.

        With ``classwise=True`` also ``bbox_CLASS_precision`` and
        ``segm_CLASS_precision``, which CocoMetric gives one name.

        Raises:
            InputError: Masks are to be evaluated, but none were predicted.
        """
        if self.format_only:
            return super().compute_metrics(results)
        kinds, prefix = self.metrics, self.outfile_prefix
        figures: dict[str, float] = {}
        rows = []
        with TemporaryDirectory() as folder:
            # Without metrics, CocoMetric only prepares what they need.
            self.metrics = []
            self.outfile_prefix = prefix or f'{folder}/results'
            super().compute_metrics(results)
            self.metrics, self.outfile_prefix = kinds, prefix
            tested = self._tested_images(results)
            for kind in kinds:
                predictions = self._load_predictions(kind)
                if not predictions:
                    print_log(
                        'the model detects nothing', 'current', logging.ERROR
                    )
                    break
                with redirect_stdout(None):
                    evaluation = self._evaluate(kind, predictions, tested)
                overall = precisions(evaluation) | recalls(evaluation)
                figures.update(_prefixed(kind, overall))
                rows.append([kind, *map(_shown, overall.values())])
                if self.classwise:
                    figures.update(self._class_figures(kind, evaluation))
        if rows:
            table = AsciiTable([['', *overall], *rows]).table
            print_log(f'{TITLE}\n{table}', 'current')
        return figures

    def _tested_images(self, results: list) -> list[int]:
        tested = sorted({prediction['img_id'] for _, prediction in results})
        if len(tested) < len(self.img_ids):
            print_log(
                f'the figures are of {len(tested)} of the '
                f'{len(self.img_ids)} images of {self.ann_file}: no others '
                'were tested',
                'current',
                logging.WARNING,
            )
        return tested

    def results2json(self, results: list, outfile_prefix: str) -> dict:
        """Write the result files, and keep their names."""
        self._files = super().results2json(results, outfile_prefix)
        return self._files

    def _load_predictions(self, kind: str) -> list[dict]:
        if kind not in self._files:
            raise InputError(
                f'CocoAPARMetric: metric={self.metrics} has {kind!r}, but the '
                'model predicts no masks; use metric=bbox'
            )
        predictions = load(self._files[kind])
        if kind == 'segm':
            for one in predictions:
                del one['bbox']  # COCO would take its area for the mask's
        return predictions

    def _evaluate(
        self, kind: str, predictions: list[dict], images: list[int]
    ) -> COCOeval:
        truth = completed(self._coco_api, kind == 'segm')
        found = truth.loadRes(predictions)
        evaluator = COCOevalMP if self.use_mp_eval else COCOeval
        evaluation = evaluator(truth, found, kind)
        evaluation.params.catIds = self.cat_ids
        evaluation.params.imgIds = images
        evaluation.params.maxDets = self.proposal_nums
        evaluation.params.iouThrs = self.iou_thrs
        evaluation.evaluate()
        evaluation.accumulate()
        return evaluation

    def _class_figures(
        self, kind: str, evaluation: COCOeval
    ) -> dict[str, float]:
        """Log a table of each class's precisions; return their averages."""
        names = [
            self._coco_api.cats[i]['name'] for i in evaluation.params.catIds
        ]
        figures = [precisions(evaluation, k) for k in range(len(names))]
        rows = [[name, *one.values()] for name, one in zip(names, figures)]
        table = AsciiTable([['category', *figures[0]], *rows])
        print_log(f'{kind}\n{table.table}', 'current')
        return {
            f'{kind}_{name}_precision': one['mAP']
            for name, one in zip(names, figures)
        }


def precisions(
    evaluation: COCOeval, classes: int | slice = slice(None)
) -> dict[str, float]:
    """Average the precisions at the largest limit of detections.

    COCOeval's own summary takes mAP at 100 detections, and is -1 if that is
    none of the limits. It needs three of them.

    Args:
        evaluation: After ``accumulate``.
        classes: Which of its ``catIds``.
    """
    values = evaluation.eval['precision'][:, :, classes, :, -1]  # (..., area)
    parts = {'mAP': values[..., 0]}
    for percent in (50, 75):
        at = np.isclose(evaluation.params.iouThrs, percent / 100)
        if at.any():
            parts[f'mAP_{percent}'] = values[at][..., 0]
    parts.update({f'mAP_{size}': values[..., n] for size, n in SIZES.items()})
    return {name: _average(part) for name, part in parts.items()}


def recalls(evaluation: COCOeval) -> dict[str, float]:
    """Average the recalls at each limit of detections, and by size."""
    values = evaluation.eval['recall']  # (IoU, class, area, limit)
    parts = {
        f'AR_{limit}': values[:, :, 0, m]
        for m, limit in enumerate(evaluation.params.maxDets)
    }
    parts.update(
        {f'AR_{size}': values[:, :, n, -1] for size, n in SIZES.items()}
    )
    return {name: _average(part) for name, part in parts.items()}


def _average(values: np.ndarray) -> float:
    """Average to three digits; COCOeval marks absent objects by -1."""
    present = values[values > -1]
    return round(float(present.mean()), 3) if present.size else -1.0


def _shown(figure: float) -> str:
    return '-' if figure < 0 else f'{figure:.3f}'


def _prefixed(kind: str, figures: dict[str, float]) -> dict[str, float]:
    return {f'{kind}_{name}': figure for name, figure in figures.items()}


def completed(annotated: COCO, masks: bool) -> COCO:
    """Return the ground truth with what COCO's evaluation needs.

    It is a copy only if something is missing.
    ``iscrowd`` is 0 where it is missing. If ``masks`` are evaluated, an object
    without a segmentation becomes a crowd that fills its box. Annotations are
    numbered from 1, because COCOeval takes the id 0 for no match.
    """
    annotations = annotated.dataset.get('annotations', [])
    if all(
        one.get('iscrowd') is not None
        and (one.get('segmentation') or not masks)
        and isinstance(one['id'], int)
        and one['id'] > 0
        for one in annotations
    ):
        return annotated
    complete = COCO()
    complete.dataset = dict(annotated.dataset, annotations=[])
    for number, annotation in enumerate(annotations, start=1):
        crowd = annotation.get('iscrowd') or 0
        annotation = dict(annotation, id=number, iscrowd=crowd)
        if masks and not annotation.get('segmentation'):
            x, y, w, h = annotation['bbox']
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotation.update(segmentation=[outline], iscrowd=1)
        complete.dataset['annotations'].append(annotation)
    complete.createIndex()
    return complete
