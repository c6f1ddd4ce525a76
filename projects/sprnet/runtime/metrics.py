from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS

PRECISIONS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
# CocoMetric names COCOeval's recalls after its default numbers of detections,
# whichever numbers were asked for.
RECALLS = {
    'AR@100': 'AR_1',
    'AR@300': 'AR_10',
    'AR@1000': 'AR_100',
    'AR_s@1000': 'AR_s',
    'AR_m@1000': 'AR_m',
    'AR_l@1000': 'AR_l',
}


@METRICS.register_module()
class CocoAPARMetric(CocoMetric):
    """COCO's twelve figures, each under its right name (Tables 2 to 7).

    Those of mmdet's CocoMetric, such as ``segm_mAP_50``, and the average
    recalls at 1, 10 and 100 detections an image, ``AR_1``, ``AR_10``,
    ``AR_100``, and at 100 of small, medium and large objects, ``AR_s``,
    ``AR_m``, ``AR_l``, such as ``segm_AR_10``; from 0 to 1, or -1 where there
    is no object of that size.

    Objects without a segmentation count for boxes only. For masks their boxes
    are regions to ignore, as those of crowds are: what is found there is
    neither right nor wrong.

    Args:
        kwargs: As of CocoMetric, but for ``proposal_nums`` and
            ``metric_items``, which are said here.

    Raises:
        ValueError: ``metric`` is not of 'bbox' and 'segm' alone.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(
            proposal_nums=(1, 10, 100),
            metric_items=[*PRECISIONS, *RECALLS],
            **kwargs,
        )
        others = set(self.metrics) - {'bbox', 'segm'}
        if others:
            raise ValueError(
                "CocoAPARMetric: metric is 'bbox', 'segm' or both, not "
                f'{sorted(others)}; CocoMetric has those'
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """COCO's figures of (ground truth, prediction) pairs, by name."""
        if self._coco_api is None or not without_masks(self._coco_api):
            return self._figures(results)
        kinds, annotated = self.metrics, self._coco_api
        figures: dict[str, float] = {}
        for self.metrics in [[kind] for kind in kinds]:
            if self.metrics == ['segm']:
                self._coco_api = ignoring_boxes(annotated)
            figures.update(self._figures(results))
            self._coco_api = annotated
        self.metrics = kinds
        return figures

    def _figures(self, results: list) -> dict[str, float]:
        names = {
            f'{kind}_{stock}': f'{kind}_{name}'
            for kind in self.metrics
            for stock, name in RECALLS.items()
        }
        figures = super().compute_metrics(results)
        return {names.get(key, key): figures[key] for key in figures}


def without_masks(annotated: COCO) -> list:
    """The annotations that have no segmentation."""
    return [
        one
        for one in annotated.dataset.get('annotations', [])
        if not one.get('segmentation')
    ]


def ignoring_boxes(annotated: COCO) -> COCO:
    """A copy in which those without a segmentation are crowds that fill their
    boxes."""
    masked = COCO()
    masked.dataset = dict(annotated.dataset, annotations=[])
    for one in annotated.dataset['annotations']:
        if not one.get('segmentation'):
            x, y, w, h = one['bbox']
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            one = dict(one, segmentation=[outline], iscrowd=1)
        masked.dataset['annotations'].append(one)
    masked.createIndex()
    return masked
