"""What an SPRNet's masks lose to their shapes, and what to their boxes.

    python tools/mask_errors.py CONFIG CHECKPOINT

evaluates the test split of CONFIG's data set with the detections' masks put
together in four ways: the predicted shape in the predicted box, as tested; the
true shape, at the decoder's 32x32 cells, in the predicted box; the predicted
shape in the true box; both true. Shape and box are those of the annotated
object of the same class that the detection overlaps most, by an IoU of at
least 0.5; other detections stay as they are.
"""

import argparse

import torch
from common.cli import (
    add_cfg_options,
    add_device,
    existing,
    one_sentence,
    parser_of,
)
from common.configs import load_config, load_model
from mmdet.registry import METRICS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import Tensor, nn

from projects.sprnet.detections import predict_boxes_and_pixels
from projects.sprnet.mask_targets import mask_targets
from projects.sprnet.pasting import paste_masks

BOX_IOU = 0.5
WAYS = ('as tested', 'true shape', 'true box', 'both true')


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('config', type=existing)
    parser.add_argument('checkpoint', type=existing)
    add_device(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def match(found: InstanceData, gt: InstanceData) -> tuple[Tensor, Tensor]:
    """The annotated object that each detection is of.

    Args:
        found: ``bboxes`` (n, 4) and ``labels`` (n,) of detections.
        gt: ``bboxes`` (G, 4) and ``labels`` (G,) of objects, no crowds.

    Returns:
        the detections that have one (k,), and the index of each one's (k,).
    """
    overlap = bbox_overlaps(found.bboxes, gt.bboxes)
    overlap *= found.labels[:, None] == gt.labels
    overlap *= overlap.new_tensor(gt.masks.areas > 0)  # some have no mask
    if not len(gt):
        overlap = overlap.new_zeros(len(found), 1)
    best, index = overlap.max(dim=1)
    matched = (best >= BOX_IOU).nonzero()[:, 0]
    return matched, index[matched]


def shapes_and_frames(
    mask_head: nn.Module,
    shapes: Tensor,
    found: InstanceData,
    gt: InstanceData,
) -> dict[str, tuple[Tensor, Tensor]]:
    """For each of the WAYS the shapes (n, S, S) in 0..1 and the frames (n, 4)
    that they fill."""
    matched, index = match(found, gt)
    frames = mask_head.frames(found.bboxes)
    true_shapes, true_frames = shapes.clone(), frames.clone()
    true_frames[matched] = mask_head.frames(gt.bboxes[index])
    true_shapes[matched] = mask_targets(
        gt.masks, index, true_frames[matched], shapes.shape[-1]
    )
    pairs = (
        (shapes, frames),
        (true_shapes, frames),
        (shapes, true_frames),
        (true_shapes, true_frames),
    )
    return dict(zip(WAYS, pairs))


def predict(model: nn.Module, batch: dict) -> tuple[list, list[Tensor]]:
    """A batch's samples with detections in ``pred_instances``, at the images'
    original size, and their shapes (n, S, S), per image."""
    data = model.data_preprocessor(batch, False)
    samples = data['data_samples']
    feats = model.extract_feat(data['inputs'])
    results = predict_boxes_and_pixels(
        model.bbox_head, feats, [s.metainfo for s in samples], rescale=True
    )
    for sample, found in zip(samples, results):
        sample.pred_instances = found
    return samples, model.mask_head.predict_maps(feats, samples, results, True)


def main() -> None:
    args = parse_args()

    with one_sentence():
        config = load_config(args.config, args.cfg_options)
        model = load_model(config, args.checkpoint, args.device)
        loader = Runner.build_dataloader(config.test_dataloader)
    metrics = {way: METRICS.build(config.test_evaluator) for way in WAYS}
    for metric in metrics.values():
        metric.dataset_meta = loader.dataset.metainfo
    for batch in loader:
        with torch.no_grad():
            samples, shapes = predict(model, batch)
        for sample, shape in zip(samples, shapes):
            found = sample.pred_instances
            ways = shapes_and_frames(
                model.mask_head, shape, found, sample.gt_instances
            )
            for way, (inside, frames) in ways.items():
                found.masks = paste_masks(
                    inside,
                    frames,
                    *sample.ori_shape[:2],
                    model.mask_head.mask_threshold,
                )
                metrics[way].process({}, [sample.to_dict()])
    print(f'{"masks":12}{"AP":>7}{"AP50":>7}{"AP75":>7}')
    for way, metric in metrics.items():
        figures = metric.evaluate(len(loader.dataset))
        if way == WAYS[0]:
            print(f'{"(boxes)":12}{_line(figures, "bbox")}')
        print(f'{way:12}{_line(figures, "segm")}')


def _line(figures: dict[str, float], kind: str) -> str:
    names = ('mAP', 'mAP_50', 'mAP_75')
    return ''.join(f'{figures[f"coco/{kind}_{n}"]:7.3f}' for n in names)


if __name__ == '__main__':
    main()
