import logging
from collections.abc import Sequence
from contextlib import redirect_stdout
from tempfile import TemporaryDirectory

import numpy as np
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.logging import print_log
from pycocotools.cocoeval import COCOeval
from terminaltables import AsciiTable

from ..errors import InputError
from ..options import check_list
from .coco_comparison import (
    compare,
    detections,
    ground_truth,
    no_collection,
)

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

    faster-coco-eval compares, if it is installed; otherwise pycocotools.

    Only the images that were tested count, which a warning says if the
    annotation file has more, as with a data set's ``indices``.

    An object without a segmentation counts in the box figures only. In the
    mask figures its box is a region to ignore, like a crowd: a detection in it
    is neither right nor wrong.

    Args:
        proposal_nums (Sequence[int]): How many detections of a class count in
            an image. The model's ``test_cfg.max_per_img`` limits them too.
            Defaults to COCO's (1, 10, 100).
        kwargs: See CocoMetric; ``metric_items`` is fixed, and
            ``use_mp_eval`` has no effect.

    Raises:
        InputError: ``metric`` contains anything but 'bbox' and 'segm', or
            ``proposal_nums`` anything but whole numbers of at least 1.
    """

    def __init__(
        self, proposal_nums: Sequence[int] = (1, 10, 100), **kwargs
    ) -> None:
        check_list(self, proposal_nums=proposal_nums)
        self.ann_file = kwargs.get('ann_file')
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

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the predictions of a batch, masks as run lengths."""
        super().process(data_batch, data_samples)
        for _, result in self.results[-len(data_samples) :]:
            if 'masks' in result:
                # mmengine copies lists and dicts item by item.
                masks = np.empty(len(result['masks']), object)
                masks[:] = result['masks']
                result['masks'] = masks

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the figures of (ground truth, prediction) pairs, by name.

        With ``classwise=True`` also ``bbox_CLASS_precision`` and
        ``segm_CLASS_precision``, which CocoMetric gives one name.

        Raises:
            InputError: Masks are to be evaluated, but none were predicted.
        """
        if self.format_only:
            return super().compute_metrics(results)
        with no_collection():
            return self._compute(results)

    def _compute(self, results: list) -> dict[str, float]:
        truths, predictions = zip(*results)
        self._find_classes(truths)
        if self.outfile_prefix:
            self.results2json(predictions, self.outfile_prefix)
        predictions = self._by_image(predictions)
        figures: dict[str, float] = {}
        rows = []
        for kind in self.metrics:
            self._check_masks(kind, predictions)
            found = detections(kind, predictions.values())
            if not found:
                print_log(
                    'the model detects nothing', 'current', logging.ERROR
                )
                break
            truth = ground_truth(
                kind, self._coco_api, predictions, self.cat_ids
            )
            limits = dict(maxDets=self.proposal_nums)
            limits['iouThrs'] = np.array(self.iou_thrs)
            evaluation = compare(kind, truth, found, limits)
            overall = precisions(evaluation) | recalls(evaluation)
            figures.update(_prefixed(kind, overall))
            rows.append([kind, *map(_shown, overall.values())])
            if self.classwise:
                figures.update(self._class_figures(kind, evaluation))
        if rows:
            table = AsciiTable([['', *overall], *rows]).table
            print_log(f'{TITLE}\n{table}', 'current')
        return figures

    def _find_classes(self, truths: Sequence[dict]) -> None:
        """Read the annotations, unless that was done, as CocoMetric does."""
        if self._coco_api is None:
            with TemporaryDirectory() as folder, redirect_stdout(None):
                file = self.gt_to_coco_json(truths, f'{folder}/truth')
                self._coco_api = COCO(file)
        if self.cat_ids is None:
            self.cat_ids = self._coco_api.get_cat_ids(
                cat_names=self.dataset_meta['classes']
            )
            self.img_ids = self._coco_api.get_img_ids()

    def _by_image(self, predictions: Sequence[dict]) -> dict:
        """Predictions by the image's id, sorted; warn of images without."""
        tested = {one['img_id']: one for one in predictions}
        if len(tested) < len(self.img_ids):
            print_log(
                f'the figures are of {len(tested)} of the '
                f'{len(self.img_ids)} images of {self.ann_file}: no others '
                'were tested',
                'current',
                logging.WARNING,
            )
        return dict(sorted(tested.items()))

    def _check_masks(self, kind: str, predictions: dict) -> None:
        if kind == 'segm' and not all(
            'masks' in one for one in predictions.values()
        ):
            raise InputError(
                f'CocoAPARMetric: metric={self.metrics} has {kind!r}, but the '
                'model predicts no masks; use metric=bbox'
            )

    def _class_figures(
        self, kind: str, evaluation: COCOeval
    ) -> dict[str, float]:
        """Log a table of each class's precisions; return their averages."""
        names = [self._coco_api.cats[i]['name'] for i in self.cat_ids]
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
