from tempfile import TemporaryDirectory

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
        self.ann_file = kwargs.get('ann_file')
        self._files: dict | None = None
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
        """Compute the figures of (ground truth, prediction) pairs, by name.

        With ``classwise=True`` also ``bbox_CLASS_precision`` and
        ``segm_CLASS_precision``, which CocoMetric gives one name.
        """
        if self.format_only:
            return super().compute_metrics(results)
        kinds, annotated, prefix = (
            self.metrics,
            self._coco_api,
            self.outfile_prefix,
        )
        figures, self._files = {}, None
        with TemporaryDirectory() as folder:
            self.outfile_prefix = prefix or f'{folder}/results'
            for kind in kinds:
                self.metrics = [kind]
                if annotated is not None:
                    self._coco_api = completed(annotated, kind == 'segm')
                for name, figure in super().compute_metrics(results).items():
                    stock = name.removeprefix(f'{kind}_')
                    figures[f'{kind}_{RECALLS.get(stock, stock)}'] = figure
        self.metrics, self.outfile_prefix = kinds, prefix
        self._coco_api = annotated or self._coco_api
        return figures

    def results2json(self, results: list, outfile_prefix: str) -> dict:
        """Write the result files, once for all metrics."""
        if self._files is None:
            self._files = super().results2json(results, outfile_prefix)
        return self._files


def completed(annotated: COCO, masks: bool) -> COCO:
    """Return the ground truth with what COCO's evaluation needs.

    It is a copy only if something is missing.
    ``iscrowd`` is 0 where it is missing. If ``masks`` are evaluated, an object
    without a segmentation becomes a crowd that fills its box.
    """
    annotations = annotated.dataset.get('annotations', [])
    if all(
        'iscrowd' in one and (one.get('segmentation') or not masks)
        for one in annotations
    ):
        return annotated
    complete = COCO()
    complete.dataset = dict(annotated.dataset, annotations=[])
    for annotation in annotations:
        annotation = {'iscrowd': 0, **annotation}
        if masks and not annotation.get('segmentation'):
            x, y, w, h = annotation['bbox']
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotation.update(segmentation=[outline], iscrowd=1)
        complete.dataset['annotations'].append(annotation)
    complete.createIndex()
    return complete
