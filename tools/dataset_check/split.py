"""What is checked: a data set of a config, and the images of its JSON."""

from collections.abc import Sequence
from typing import Any, NamedTuple


class Split(NamedTuple):
    """A data set of a config, and how the config uses it."""

    ann_file: str
    folder: str  # of the images
    classes: Sequence[str]
    num_classes: dict[str, int]  # of the model's heads, by option
    training: bool  # whether a model learns from it
    masks: bool  # whether training loads them
    masks_optional: bool  # whether an object may have none
    metrics: Sequence[str]  # 'bbox', 'segm'; empty in training
    evaluated_files: Sequence[str]  # the evaluators' ann_file
    completes: bool  # whether the metrics add what COCO's evaluation needs
    filter_cfg: dict[str, Any]  # empty in testing, which filters nothing
    dataset: dict[str, Any]  # its config, with the pipeline that loads images
    max_pixels: int  # of an image
    max_detections: float  # of an image, that the model makes
    max_counted: int  # of a class in an image, that the metrics count


class Record(NamedTuple):
    """An image of a COCO JSON, and those of its annotations that are used."""

    image: dict
    annotations: list[dict]
