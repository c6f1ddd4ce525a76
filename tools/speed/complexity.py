"""Parameters and FLOPs, by mmengine's counter."""

import logging
from functools import partial

import numpy as np
from mmengine.analysis import get_model_complexity_info

from .subjects import Subject, test_batch


def complexity(
    subject: Subject, image: np.ndarray, size: tuple[int, int]
) -> dict[str, float | None]:
    """Millions of parameters, and billions of multiply-adds of an image.

    The multiply-adds are those of the forward pass to the raw outputs, as of
    MMDetection's get_flops.py: SPRNet's masks of 100 pixels are among them;
    None for a detector that has none without annotations (CondInst, YOLACT).
    """
    model = subject.model
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    inputs = model.data_preprocessor(test_batch(image, size))
    forward = model.forward
    model.forward = partial(forward, data_samples=inputs['data_samples'])
    logging.disable()  # of what is not counted, such as a NMS
    try:
        counted = (
            get_model_complexity_info(
                model,
                inputs=inputs['inputs'],
                show_table=False,
                show_arch=False,
            )['flops']
            / 1e9
        )
    except AttributeError:
        counted = None
    finally:
        logging.disable(logging.NOTSET)
        del model.forward
    return dict(parameters=parameters, gmacs=counted)
