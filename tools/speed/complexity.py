"""Parameters and FLOPs, as mmengine counts them."""

import logging
from functools import partial
from unittest.mock import patch

import numpy as np
from mmengine.analysis import get_model_complexity_info

from .subjects import Subject, test_batch


def complexity(
    subject: Subject, image: np.ndarray, size: tuple[int, int]
) -> dict[str, float | None]:
    """Count a model's parameters and the multiply-adds of one image.

    As MMDetection's get_flops.py does, this counts the forward pass up to the
    raw outputs. For SPRNet this includes the masks of 100 locations.

    Returns:
        ``parameters`` in millions and ``gmacs``, billions of multiply-adds;
        None for detectors whose forward pass needs annotations (CondInst,
        YOLACT).
    """
    model = subject.model
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    inputs = model.data_preprocessor(test_batch(image, size))
    forward = partial(model.forward, data_samples=inputs['data_samples'])
    logging.disable()  # warnings about uncounted operations such as NMS
    try:
        with patch.object(model, 'forward', forward):
            counted = get_model_complexity_info(
                model,
                inputs=inputs['inputs'],
                show_table=False,
                show_arch=False,
            )
        gmacs = counted['flops'] / 1e9
    except AttributeError:
        gmacs = None
    finally:
        logging.disable(logging.NOTSET)
    return dict(parameters=parameters, gmacs=gmacs)
