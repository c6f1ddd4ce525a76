"""Write a detector's graph and its metadata to an ONNX file."""

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmdet.utils import get_test_pipeline_cfg
from mmdet.visualization.palette import get_palette
from mmengine.config import Config
from torch import nn

from projects.sprnet.errors import InputError

from .detector import TraceableSPRNet, check_exportable
from .nms import TRANSLATIONS

INPUTS = ('images', 'image_shapes')
OUTPUTS = ('image_index', 'boxes', 'scores', 'labels', 'masks')
METADATA = 'sprnet'  # key of the JSON text in the file's metadata


def type_name(step: dict) -> str:
    """The name of a step's type; pure Python configs hold the type itself."""
    kind = step['type']
    return getattr(kind, '__name__', kind).split('.')[-1]


def pad_pixel(step: dict) -> list[float]:
    """The value of each channel that a Pad step adds, as mmcv reads it."""
    value = step.get('pad_val', 0)
    value = value.get('img', 0) if isinstance(value, dict) else value
    return list(value) if isinstance(value, Sequence) else [value] * 3


def metadata(detector: nn.Module, config: Config) -> dict[str, Any]:
    """Collect what a user of the graph has to know.

    Returns:
        The preprocessing: ``scale``, ``mean``, ``std``, ``bgr_to_rgb``,
        ``pad_size_divisor`` and ``pad_value``, as in the config; ``pad_to``
        (height, width) and ``pad_pixel`` of a ``Pad`` step, or None. Classes:
        names ``classes`` and RGB colours ``palette``. The masks: ``score_thr``
        (applied), ``mask_thr_binary`` (not applied) and ``frame``, the side of
        a mask's frame / the side of its box.

    Raises:
        InputError: The test pipeline does more than resize an image with its
            aspect ratio kept and pad it to a fixed size, or the numbers of
            class names and of classes differ.
    """
    steps = {type_name(s): s for s in get_test_pipeline_cfg(config)}
    between = [n for n in steps if not n.startswith(('Load', 'Pack'))]
    pad = steps.get('Pad')
    if (
        between not in (['Resize'], ['Resize', 'Pad'])
        or not steps['Resize'].get('keep_ratio')
        or (pad and not pad.get('size'))
    ):
        raise InputError(
            'test_dataloader.dataset.pipeline can be exported only if the '
            'steps between loading and packing are a Resize with '
            'keep_ratio=True and, after it, none or a Pad with a size; it has '
            f'{between}'
        )
    classes = detector.dataset_meta['classes']
    if len(classes) != detector.bbox_head.num_classes:
        raise InputError(
            f'the checkpoint names {len(classes)} classes, but '
            f'model.bbox_head.num_classes={detector.bbox_head.num_classes}; '
            'use the config that it was trained with'
        )
    preprocessor = config.model.data_preprocessor
    return dict(
        scale=steps['Resize']['scale'],
        mean=preprocessor.mean,
        std=preprocessor.std,
        bgr_to_rgb=preprocessor.get('bgr_to_rgb', False),
        pad_size_divisor=preprocessor.get('pad_size_divisor', 1),
        pad_value=preprocessor.get('pad_value', 0),
        pad_to=pad and pad['size'][::-1],
        pad_pixel=pad and pad_pixel(pad),
        classes=classes,
        palette=get_palette(detector.dataset_meta['palette'], len(classes)),
        score_thr=detector.bbox_head.test_cfg.score_thr,
        frame=detector.mask_head.frame,
        mask_thr_binary=detector.mask_head.mask_threshold,
    )


def export(detector: nn.Module, config: Config, path: Path) -> None:
    """Write a detector to an ONNX file for batches and images of any size.

    Raises:
        InputError: The config has a part that cannot be exported, or PyTorch's
            exporter fails.
    """
    check_exportable(detector)
    text = json.dumps(metadata(detector, config))
    images = torch.zeros(2, 3, 192, 256)
    image_shapes = torch.tensor([[192, 256], [180, 250]])
    # The exporter warns about packages that are not installed.
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter('ignore')
        try:
            program = torch.onnx.export(
                TraceableSPRNet(detector).eval(),
                (images, image_shapes),
                dynamic_shapes=(
                    {0: 'batch', 2: 'height', 3: 'width'},
                    {0: 'batch'},
                ),
                input_names=INPUTS,
                output_names=OUTPUTS,
                opset_version=18,
                custom_translation_table=TRANSLATIONS,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            # The message is pages long; its cause is the first failure.
            cause = str(error.__cause__ or error).strip().splitlines()[0]
            raise InputError(
                f'torch.onnx.export failed on this model: {cause}'
            ) from error
    for node in program.model.graph:
        node.metadata_props.clear()  # paths of source files
    program.model.metadata_props[METADATA] = text
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(path))
