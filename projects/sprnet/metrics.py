from typing import Dict

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

    def compute_metrics(self, results: list) -> Dict[str, float]:
        """COCO's figures of (ground truth, prediction) pairs, by name."""
        names = {
            f'{kind}_{stock}': f'{kind}_{name}'
            for kind in self.metrics
            for stock, name in RECALLS.items()
        }
        figures = super().compute_metrics(results)
        return {names.get(key, key): figures[key] for key in figures}
