import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from tempfile import TemporaryDirectory

import numpy as np
from mmdet.datasets.api_wrappers import COCO as CheckedCOCO
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.logging import print_log
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
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
        with _no_collection():
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
            found = self._detections(kind, predictions)
            if not found:
                print_log(
                    'the model detects nothing', 'current', logging.ERROR
                )
                break
            truth = self._ground_truth(kind, predictions)
            evaluation = self._evaluate(kind, truth, found)
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
                self._coco_api = CheckedCOCO(file)
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

    def _detections(self, kind: str, predictions: dict) -> list[dict]:
        """Annotations of what was found, numbered as by _ground_truth."""
        found: list[dict] = []
        for image, one in enumerate(predictions.values(), start=1):
            shapes = list(_mask_shapes(one) if kind == 'segm' else _boxes(one))
            scores = one.get('mask_scores') if kind == 'segm' else None
            scores = one['scores'] if scores is None else scores
            for shape, score, label in zip(
                shapes, scores.tolist(), one['labels'].tolist()
            ):
                found.append(
                    dict(
                        shape,
                        id=len(found) + 1,
                        image_id=image,
                        category_id=label + 1,
                        score=score,
                        iscrowd=0,
                    )
                )
        return found

    def _ground_truth(self, kind: str, predictions: dict) -> dict:
        """COCO's ground truth of the tested images.

        Images, classes and annotations are numbered from 1, whatever their
        ids are: COCOeval takes the annotation 0 for no match, and ids of text
        are not accepted everywhere. ``iscrowd`` is 0 where it is missing. If
        masks are evaluated, an object without a segmentation becomes a crowd
        that fills its box.
        """
        images = {name: n for n, name in enumerate(predictions, start=1)}
        classes = {name: n for n, name in enumerate(self.cat_ids, start=1)}
        annotations = []
        for one in self._coco_api.dataset.get('annotations', []):
            if one['image_id'] not in images:
                continue
            if one['category_id'] not in classes:
                continue
            own = dict(
                id=len(annotations) + 1,
                image_id=images[one['image_id']],
                category_id=classes[one['category_id']],
                iscrowd=one.get('iscrowd') or 0,
                area=one['area'],
                bbox=one['bbox'],
            )
            if kind == 'segm':
                own['segmentation'] = one.get('segmentation')
                if not own['segmentation']:
                    x, y, w, h = one['bbox']
                    outline = [x, y, x + w, y, x + w, y + h, x, y + h]
                    own.update(segmentation=[outline], iscrowd=1)
            annotations.append(own)
        sizes = self._coco_api.imgs
        return dict(
            images=[
                dict(
                    id=n,
                    height=sizes[name]['height'],
                    width=sizes[name]['width'],
                )
                for name, n in images.items()
            ],
            categories=[dict(id=n) for n in classes.values()],
            annotations=annotations,
        )

    def _evaluate(self, kind: str, truth: dict, found: list[dict]) -> COCOeval:
        try:
            from faster_coco_eval import COCO as FastCOCO
            from faster_coco_eval import COCOeval_faster

            return self._evaluate_with(
                FastCOCO, COCOeval_faster, kind, truth, found
            )
        except ImportError:
            _warn_once('faster-coco-eval is not installed')
        except Exception as error:  # its own, whatever the data are
            _warn_once(f'faster-coco-eval fails ({error})')
        return self._evaluate_with(COCO, COCOeval, kind, truth, found)

    def _evaluate_with(
        self, api: type, evaluator: type, kind: str, truth: dict, found: list
    ) -> COCOeval:
        sides = []
        with redirect_stdout(None):
            for annotations in (truth['annotations'], found):
                sides.append(api())
                sides[-1].dataset = dict(truth, annotations=annotations)
                sides[-1].createIndex()
            evaluation = evaluator(*sides, kind)
            evaluation.params.maxDets = self.proposal_nums
            evaluation.params.iouThrs = np.array(self.iou_thrs)
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation

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


@cache
def _warn_once(reason: str) -> None:
    print_log(
        f'{reason}; pycocotools compares, which takes several times as long',
        'current',
        logging.WARNING,
    )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause Python's search for cycles, which looks through all of millions of
    annotations again and again."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def _boxes(prediction: dict) -> Iterator[dict]:
    boxes = prediction['bboxes'].astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    for x, y, width, height in boxes.tolist():
        yield dict(bbox=[x, y, width, height], area=width * height)


def _mask_shapes(prediction: dict) -> Iterator[dict]:
    # One by one: pycocotools takes no more than 255 in a list (NumPy 2).
    for mask in prediction['masks']:
        yield dict(segmentation=mask, area=int(coco_mask.area(mask)))


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
