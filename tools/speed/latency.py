"""Time of an image, in all and by stage."""

import statistics
from collections.abc import Callable, Sequence

import numpy as np
from mmdet.evaluation import CocoMetric

from .clock import in_turns, seconds
from .stages import ENCODING, PREPROCESSING, STAGES, timed_stages
from .subjects import Subject, test_batch


def once(
    subject: Subject, image: np.ndarray, size: tuple[int, int], batch: int
) -> float:
    """Seconds from ``batch`` pictures to their results."""
    return seconds(
        lambda: subject.predict(test_batch(image, size, batch)),
        subject.device,
    )


def stages_once(
    subject: Subject, image: np.ndarray, size: tuple[int, int]
) -> dict[str, float]:
    """Seconds of each stage of a picture, and of its masks to RLE."""
    metric = CocoMetric(metric='bbox')
    with timed_stages(subject.model, subject.device) as timer:
        with timer.stage(PREPROCESSING):
            inputs = test_batch(image, size)
        (sample,) = subject.predict(inputs)
        with timer.stage(ENCODING):
            # Without annotations, of which nothing is asked.
            metric.process({}, [dict(sample.to_dict(), instances=[])])
    return dict(timer.seconds)


def latency(
    subjects: Sequence[Subject],
    image: np.ndarray,
    size: tuple[int, int],
    rounds: int,
    report: Callable[[str], None],
    batch: int = 1,
    warm_up: int = 0,
) -> dict[str, list[float]]:
    """Seconds a batch, from pictures to results at their original size, round
    by round."""
    return in_turns(
        {s.name: lambda s=s: once(s, image, size, batch) for s in subjects},
        rounds,
        report,
        warm_up,
    )


def stages(
    subjects: Sequence[Subject],
    image: np.ndarray,
    size: tuple[int, int],
    rounds: int,
    report: Callable[[str], None],
) -> dict[str, dict[str, float]]:
    """Median seconds of each stage, batch 1."""
    found = in_turns(
        {s.name: lambda s=s: stages_once(s, image, size) for s in subjects},
        rounds,
        report,
    )
    return {
        name: {
            stage: statistics.median(one.get(stage, 0) for one in values)
            for stage in STAGES
        }
        for name, values in found.items()
    }
