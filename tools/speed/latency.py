"""Time of one prediction, in total and by stage."""

import numpy as np
from mmdet.evaluation import CocoMetric

from .clock import seconds
from .stages import ENCODING, PREPROCESSING, STAGES, timed_stages
from .subjects import Subject, test_batch


def image_seconds(
    subject: Subject, image: np.ndarray, size: tuple[int, int], batch: int = 1
) -> float:
    """Seconds from ``batch`` pictures to results at their original size."""
    return seconds(
        lambda: subject.predict(test_batch(image, size, batch)),
        subject.device,
    )


def stage_seconds(
    subject: Subject, image: np.ndarray, size: tuple[int, int]
) -> dict[str, float]:
    """Seconds of each of ``STAGES`` for one picture, RLE encoding included."""
    metric = CocoMetric(metric='bbox')
    with timed_stages(subject.model, subject.device) as timer:
        with timer.stage(PREPROCESSING):
            inputs = test_batch(image, size)
        (sample,) = subject.predict(inputs)
        with timer.stage(ENCODING):
            # No annotations: CocoMetric only converts the results.
            metric.process({}, [dict(sample.to_dict(), instances=[])])
    return {stage: timer.seconds[stage] for stage in STAGES}
