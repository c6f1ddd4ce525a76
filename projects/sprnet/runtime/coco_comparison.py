"""Detections beside ground truth: COCO's evaluation, as fast as it can be had.

Images, classes and annotations are numbered from 1, whatever their ids are:
COCOeval takes the annotation 0 for no match, and ids of text are not accepted
everywhere.
"""

import gc
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache

from mmengine.logging import print_log
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


@contextmanager
def no_collection() -> Iterator[None]:
    """Pause Python's search for cycles, which looks through all of millions of
    annotations again and again."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def detections(kind: str, predictions: Iterable[dict]) -> list[dict]:
    """COCO's annotations of what was found in each image.

    Args:
        kind: 'bbox' or 'segm'.
        predictions: As CocoMetric keeps them, in the images' order.
    """
    found: list[dict] = []
    for image, one in enumerate(predictions, start=1):
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


def _boxes(prediction: dict) -> Iterator[dict]:
    boxes = prediction['bboxes'].astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    for x, y, width, height in boxes.tolist():
        yield dict(bbox=[x, y, width, height], area=width * height)


def _mask_shapes(prediction: dict) -> Iterator[dict]:
    # One by one: pycocotools takes no more than 255 in a list (NumPy 2).
    for mask in prediction['masks']:
        yield dict(segmentation=mask, area=int(coco_mask.area(mask)))


def ground_truth(
    kind: str, annotated: COCO, images: Iterable, classes: Sequence
) -> dict:
    """COCO's data set of the objects in some images.

    ``iscrowd`` is 0 where it is missing. If masks are evaluated, an object
    without a segmentation becomes a crowd that fills its box.

    Args:
        kind: 'bbox' or 'segm'.
        annotated: The annotations.
        images: Ids of the images, in the order of their predictions.
        classes: Ids of the classes, in the order of the labels.
    """
    images = {name: n for n, name in enumerate(images, start=1)}
    classes = {name: n for n, name in enumerate(classes, start=1)}
    annotations = []
    for one in annotated.dataset.get('annotations', []):
        if one['image_id'] not in images or one['category_id'] not in classes:
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
    sizes = [(n, annotated.imgs[name]) for name, n in images.items()]
    return dict(
        images=[
            dict(id=n, height=size['height'], width=size['width'])
            for n, size in sizes
        ],
        categories=[dict(id=n) for n in classes.values()],
        annotations=annotations,
    )


def compare(
    kind: str, truth: dict, found: list[dict], options: dict
) -> COCOeval:
    """Evaluate detections by faster-coco-eval, or else by pycocotools.

    Args:
        kind: 'bbox' or 'segm'.
        truth: See :func:`ground_truth`.
        found: See :func:`detections`.
        options: Of COCOeval's ``params``.

    Returns:
        The evaluation after ``accumulate``.
    """
    try:
        from faster_coco_eval import COCO as FastCOCO
        from faster_coco_eval import COCOeval_faster

        return _evaluate(
            FastCOCO, COCOeval_faster, kind, truth, found, options
        )
    except ImportError:
        _warn_once('faster-coco-eval is not installed')
    except Exception as error:  # its own, whatever the data are
        _warn_once(f'faster-coco-eval fails ({error})')
    return _evaluate(COCO, COCOeval, kind, truth, found, options)


def _evaluate(
    api: type,
    evaluator: type,
    kind: str,
    truth: dict,
    found: list[dict],
    options: dict,
) -> COCOeval:
    sides = []
    with redirect_stdout(None):
        for annotations in (truth['annotations'], found):
            sides.append(api())
            sides[-1].dataset = dict(truth, annotations=annotations)
            sides[-1].createIndex()
        evaluation = evaluator(*sides, kind)
        vars(evaluation.params).update(options)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


@cache
def _warn_once(reason: str) -> None:
    print_log(
        f'{reason}; pycocotools compares, which takes several times as long',
        'current',
        logging.WARNING,
    )
