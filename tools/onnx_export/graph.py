"""A detector's ONNX file: its graph, and what to do before and after it."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from mmdet.utils import get_test_pipeline_cfg
from mmdet.visualization.palette import get_palette
from mmengine.config import Config
from torch import nn

from .detector import TraceableSPRNet, check_exportable
from .nms import TRANSLATIONS

INPUTS = ('images', 'image_shapes')
OUTPUTS = ('image_index', 'boxes', 'scores', 'labels', 'masks')
METADATA = 'sprnet'  # the key under which a file has its metadata, as JSON


def metadata(detector: nn.Module, config: Config) -> dict[str, Any]:
    """What a user of the graph has to know, under the config's own names.

    Returns:
        ``scale`` (width and height that an image is resized into, its shape
        kept), ``mean``, ``std``, ``bgr_to_rgb``, ``pad_size_divisor`` and
        ``pad_value`` of the input; ``classes`` and ``palette`` (RGB);
        ``score_thr``, already applied, and ``mask_thr_binary``, which is not;
        ``frame``, the sides of what a mask fills in sides of its box.

    Raises:
        ValueError: An image is not merely resized with its shape kept, or
            there are not as many class names as classes.
    """
    steps = {
        step['type'].split('.')[-1]: step
        for step in get_test_pipeline_cfg(config)
    }
    between = [n for n in steps if not n.startswith(('Load', 'Pack'))]
    if between != ['Resize'] or not steps['Resize'].get('keep_ratio'):
        raise ValueError(
            'test_dataloader.dataset.pipeline is exported only with a Resize '
            'of keep_ratio=True, and nothing else, between loading and '
            f'packing; it has {between}'
        )
    classes = detector.dataset_meta['classes']
    if len(classes) != detector.bbox_head.num_classes:
        raise ValueError(
            f'the checkpoint names {len(classes)} classes, but '
            f'model.bbox_head.num_classes={detector.bbox_head.num_classes}'
        )
    images = config.model.data_preprocessor
    return dict(
        scale=steps['Resize']['scale'],
        mean=images.mean,
        std=images.std,
        bgr_to_rgb=images.get('bgr_to_rgb', False),
        pad_size_divisor=images.get('pad_size_divisor', 1),
        pad_value=images.get('pad_value', 0),
        classes=classes,
        palette=get_palette(detector.dataset_meta['palette'], len(classes)),
        score_thr=detector.bbox_head.test_cfg.score_thr,
        frame=detector.mask_head.frame,
        mask_thr_binary=detector.mask_head.mask_threshold,
    )


def export(detector: nn.Module, config: Config, path: Path) -> None:
    """Write a detector to an ONNX file, for batches and images of any size.

    Raises:
        ValueError: A part of the config that is not exported, or that
            PyTorch's exporter gives up on.
    """
    check_exportable(detector)
    known = json.dumps(metadata(detector, config))
    images = torch.zeros(2, 3, 192, 256)
    image_shapes = torch.tensor([[192, 256], [180, 250]])
    # It warns of operators of packages that are not installed.
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
            # What went wrong first, after pages of what else was tried
            cause = str(error.__cause__ or error).strip().splitlines()[0]
            raise ValueError(
                f'torch.onnx.export does not know this model: {cause}'
            ) from error
    for node in program.model.graph:
        node.metadata_props.clear()  # where in this machine's code it is from
    program.model.metadata_props[METADATA] = known
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(path))
