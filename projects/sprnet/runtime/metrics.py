from collections.abc import Iterator, Sequence

from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS

PRECISIONS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
# CocoMetric's names assume its default limits of detections (100, 300, 1000),
# whatever proposal_nums says; these are the names for the limits 1, 10, 100.
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
    """Report COCO's twelve figures under their right names (Tables 2 to 7).

    These are CocoMetric's average precisions, such as ``segm_mAP_50``, and
    average recalls, such as ``segm_AR_10``: ``AR_1``, ``AR_10`` and
    ``AR_100`` at 1, 10 and 100 detections per image, ``AR_s``, ``AR_m`` and
    ``AR_l`` at 100 for small, medium and large objects. Values are between 0
    and 1, or -1 without objects of that size.

    An object without a segmentation counts in the box figures only. In the
    mask figures its box is a region to ignore, like a crowd: a detection in it
    is neither right nor wrong.

    Args:
        kwargs: See CocoMetric; ``proposal_nums`` and ``metric_items`` are
            fixed.

    Raises:
        ValueError: ``metric`` contains anything but 'bbox' and 'segm'.
    """

    def __init__(self, **kwargs) -> None:
        super().__init__(
            proposal_nums=(1, 10, 100),
            metric_items=[*PRECISIONS, *RECALLS],
            **kwargs,
        )
        unsupported = set(self.metrics) - {'bbox', 'segm'}
        if unsupported:
            raise ValueError(
                f'CocoAPARMetric: metric={self.metrics} must be bbox, segm or '
                f'both; use CocoMetric for {sorted(unsupported)}'
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute the figures of (ground truth, prediction) pairs, by name."""
        kinds, annotated = self.metrics, self._coco_api
        if annotated is not None and lacks_masks(annotated):
            self.metrics = self._switch_ground_truth(kinds)
        figures = super().compute_metrics(results)
        self.metrics = kinds
        self._coco_api = annotated or self._coco_api
        names = {
            f'{kind}_{stock}': f'{kind}_{name}'
            for kind in kinds
            for stock, name in RECALLS.items()
        }
        return {names.get(key, key): figures[key] for key in figures}

    def _switch_ground_truth(self, kinds: Sequence[str]) -> Iterator[str]:
        """Yield each metric after setting the ground truth that it needs.

        CocoMetric iterates over ``self.metrics``. This generator takes its
        place, so that the result files are written once.
        """
        annotated = self._coco_api
        for kind in kinds:
            masks = kind == 'segm'
            self._coco_api = ignore_unmasked(annotated) if masks else annotated
            yield kind


def lacks_masks(annotated: COCO) -> bool:
    """Tell whether an annotation has no segmentation."""
    annotations = annotated.dataset.get('annotations', [])
    return not all(a.get('segmentation') for a in annotations)


def ignore_unmasked(annotated: COCO) -> COCO:
    """Copy the ground truth; turn each object without a segmentation into a
    crowd that fills its box."""
    masked = COCO()
    masked.dataset = dict(annotated.dataset, annotations=[])
    for annotation in annotated.dataset['annotations']:
        if not annotation.get('segmentation'):
            x, y, w, h = annotation['bbox']
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotation = dict(annotation, segmentation=[outline], iscrowd=1)
        masked.dataset['annotations'].append(annotation)
    masked.createIndex()
    return masked
