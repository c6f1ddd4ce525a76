"""How much mask AP an SPRNet loses to mask shapes, and how much to boxes.

    python tools/mask_errors.py CONFIG CHECKPOINT

evaluates the test set of CONFIG four times, with the masks made from

    as tested   the predicted shape in the predicted box
    true shape  the true shape, at the decoder's 32x32 cells, in the predicted
                box
    true box    the predicted shape in the true box
    both true   the true shape in the true box

The true shape and box are those of the annotated object of the same class that
the detection overlaps most. A detection without such an object, of an IoU of
at least 0.5, keeps its predicted mask.
"""

import argparse

from common.cli import (
    add_cfg_options,
    add_device,
    existing,
    one_sentence,
    parser_of,
)
from common.configs import find_spr_head, load_config, load_model

import torch
from mmdet.registry import METRICS
from mmdet.structures import SampleList
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.utils.data import DataLoader

from projects.sprnet import DenseMasks, SPRHead
from projects.sprnet.errors import InputError
from projects.sprnet.mask_targets import mask_targets
from projects.sprnet.runtime.evaluation_file import check_file

BOX_IOU = 0.5
WAYS = ('as tested', 'true shape', 'true box', 'both true')


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('config', type=existing)
    parser.add_argument('checkpoint', type=existing)
    add_device(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def match(detected: InstanceData, gt: InstanceData) -> tuple[Tensor, Tensor]:
    """Match detections to annotated objects.

    Args:
        detected: ``bboxes`` (n, 4) and ``labels`` (n,) of detections.
        gt: ``bboxes`` (G, 4), ``labels`` (G,) and ``masks`` of objects,
            without crowds. Objects with an empty mask match nothing.

    Returns:
        The matched detections (k,), and the object of each (k,).
    """
    overlap = bbox_overlaps(detected.bboxes, gt.bboxes)
    overlap *= detected.labels[:, None] == gt.labels
    overlap *= overlap.new_tensor(gt.masks.areas > 0)
    if not len(gt):
        overlap = overlap.new_zeros(len(detected), 1)
    best, objects = overlap.max(dim=1)
    matched = (best >= BOX_IOU).nonzero()[:, 0]
    return matched, objects[matched]


def shapes_and_frames(
    mask_head: SPRHead,
    shapes: Tensor,
    detected: InstanceData,
    gt: InstanceData,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Combine predicted and true shapes and boxes of one image.

    Args:
        mask_head: Gives the frame that the mask of a box fills.
        shapes: (n, S, S) predicted probabilities.
        detected, gt: As for :func:`match`.

    Returns:
        For each of the ``WAYS`` the shapes (n, S, S) in 0..1 and the frames
        (n, 4) that they fill.
    """
    matched, objects = match(detected, gt)
    frames = mask_head.frames(detected.bboxes)
    true_shapes, true_frames = shapes.clone(), frames.clone()
    true_frames[matched] = mask_head.frames(gt.bboxes[objects])
    true_shapes[matched] = mask_targets(
        gt.masks, objects, true_frames[matched], shapes.shape[-1]
    )
    pairs = (
        (shapes, frames),
        (true_shapes, frames),
        (shapes, true_frames),
        (true_shapes, true_frames),
    )
    return dict(zip(WAYS, pairs))


@torch.no_grad()
def predict(
    model: nn.Module, batch: dict
) -> tuple[SampleList, tuple[Tensor, ...]]:
    """Detect the objects of a batch from a data loader.

    Returns:
        The images' samples, with detections at the original size in
        ``pred_instances``, and for each image the shapes (n, S, S) of its
        detections, as the mask head's ``probabilities`` gives them.
    """
    data = model.data_preprocessor(batch, False)
    samples = data['data_samples']
    features = model.extract_feat(data['inputs'])
    results = model.detect(features, samples, rescale=True)
    for sample, detected in zip(samples, results):
        sample.pred_instances = detected
    shapes = model.mask_head.probabilities(
        features, samples, results, rescale=True
    )
    return samples, shapes.split([*map(len, results)])


def evaluate(
    model: nn.Module, loader: DataLoader, metrics: dict[str, BaseMetric]
) -> None:
    """Predict on all images; give each way's metric its masks."""
    mask_head, paste = model.mask_head, DenseMasks()
    for batch in loader:
        for sample, shapes in zip(*predict(model, batch)):
            detected = sample.pred_instances
            combined = shapes_and_frames(
                mask_head, shapes, detected, sample.gt_instances
            )
            size = sample.ori_shape[:2]
            for way, (filling, frames) in combined.items():
                (detected.masks,) = paste(
                    filling, [frames], [size], mask_head.mask_threshold
                )
                metrics[way].process({}, [sample.to_dict()])


def build_metric(config: Config, dataset: BaseDataset) -> BaseMetric:
    """Build the metric of a config's test that measures masks.

    Raises:
        InputError: There is none, or it reads the file of other images.
    """
    evaluators = config.test_evaluator or []
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    for evaluator in evaluators:
        if 'segm' in evaluator.get('metric', ()):
            metric = METRICS.build(evaluator)
            check_file('test', dataset, metric)
            metric.dataset_meta = dataset.metainfo
            return metric
    raise InputError(f"{config.filename}: test_evaluator has no metric='segm'")


def table_row(name: str, results: dict[str, float], kind: str) -> str:
    """Format AP, AP50 and AP75 of a metric's 'bbox' or 'segm' results."""
    keys = (f'coco/{kind}_{ap}' for ap in ('mAP', 'mAP_50', 'mAP_75'))
    return f'{name:12}' + ''.join(f'{results[key]:7.3f}' for key in keys)


def main() -> None:
    args = parse_args()
    with one_sentence():
        config = load_config(args.config, args.cfg_options)
        model = load_model(config, args.checkpoint, args.device)
        find_spr_head(model)
        loader = Runner.build_dataloader(config.test_dataloader)
        metrics = {way: build_metric(config, loader.dataset) for way in WAYS}
    evaluate(model, loader, metrics)
    print(f'{"masks":12}{"AP":>7}{"AP50":>7}{"AP75":>7}')
    for way, metric in metrics.items():
        results = metric.evaluate(len(loader.dataset))
        if way == WAYS[0]:
            print(table_row('(boxes)', results, 'bbox'))
        print(table_row(way, results, 'segm'))


if __name__ == '__main__':
    main()
