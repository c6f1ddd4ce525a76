"""Figure 8: two models' predictions side by side, and the recall of each.

    python tools/compare.py CONFIG_A CHECKPOINT_A CONFIG_B CHECKPOINT_B

draws images of config A's validation split into OUT_DIR/IMAGE_ID.png: A, B and
the ground truth. The recall in the titles is the share of the image's objects,
crowds and those without a mask left out, that some detection of the same
class, with a score of at least --score-thr, covers with a mask IoU of at least
0.5; last comes each model's recall over all the images together.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
import torch.nn.functional as F
from common.cli import (
    add_cfg_options,
    add_device,
    add_out_dir,
    add_selection,
    existing,
    one_sentence,
    parser_of,
    score,
)
from common.configs import load_config, load_model
from common.images import ground_truth, select
from matplotlib.figure import Figure
from mmdet.apis import inference_detector
from mmdet.registry import DATASETS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

MASK_IOU = 0.5
LONG_SIDE = 400  # at least, of an image in a panel


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_out_dir(parser, 'comparison')
    for model in 'ab':
        parser.add_argument(
            f'config_{model}', type=existing, metavar=f'CONFIG_{model.upper()}'
        )
        parser.add_argument(
            f'checkpoint_{model}',
            type=existing,
            metavar=f'CHECKPOINT_{model.upper()}',
        )
    add_selection(parser)
    parser.add_argument(
        '--score-thr',
        type=score,
        default=0.3,
        help='detections of at least this score (0.3)',
    )
    add_device(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def recalled(truth: InstanceData, found: InstanceData) -> np.ndarray:
    """Which objects a detection of their class covers.

    Args:
        truth: n objects, with ``labels`` (n,) and ``masks`` (n, H, W) bool.
        found: m detections, likewise.

    Returns:
        (n,) bool.
    """

    def encode(objects: InstanceData) -> list[dict]:
        return [
            coco_mask.encode(np.asfortranarray(mask, np.uint8))
            for mask in objects.masks.numpy()
        ]

    if not len(truth) or not len(found):
        return np.zeros(len(truth), bool)
    overlaps = coco_mask.iou(encode(found), encode(truth), [0] * len(truth))
    same = (found.labels[:, None] == truth.labels).numpy()
    return ((overlaps >= MASK_IOU) & same).any(axis=0)


def detections(model, image: Path, threshold: float) -> InstanceData:
    """A model's detections from a score on.

    Raises:
        ValueError: The model predicts no masks.
    """
    found = inference_detector(model, str(image)).pred_instances
    if 'masks' not in found:
        raise ValueError(f'{type(model).__name__} predicts no masks')
    return found[found.scores >= threshold].cpu()


def drawn(visualizer, image: np.ndarray, objects: InstanceData) -> np.ndarray:
    """The image with its objects, (H, W, 3) RGB.

    Small images are enlarged, for lines and letters have a fixed width.
    """
    objects = objects.clone()
    scale = LONG_SIDE / max(image.shape[:2])
    if scale > 1:
        image = mmcv.imrescale(image, scale)
        objects.bboxes = objects.bboxes * scale
        objects.masks = F.interpolate(
            objects.masks[:, None].byte(), image.shape[:2]
        )[:, 0].bool()
    sample = DetDataSample(gt_instances=objects)
    visualizer.add_datasample('', image, sample, draw_pred=False)
    return visualizer.get_image()


def classes_of(config: Config) -> Sequence[str]:
    """The classes of a config's validation split."""
    lazy = dict(config.val_dataloader.dataset, lazy_init=True)
    return DATASETS.build(lazy).metainfo['classes']


def title(name: str, objects: InstanceData, hits: np.ndarray) -> str:
    """What stands above a model's panel."""
    share = f'{hits.mean():.2f}' if len(hits) else '-'
    return (
        f'{name} (detections: {len(objects)})\n'
        f'objects found: {hits.sum()} of {len(hits)} (recall {share})'
    )


def save_panels(
    panels: Sequence[tuple[str, np.ndarray]], columns: int, path: Path
) -> None:
    """Write titled pictures, (H, W, 3) uint8 RGB, as one grid."""
    rows = -(-len(panels) // columns)
    aspect = max(image.shape[0] / image.shape[1] for _, image in panels)
    figure = Figure(
        figsize=(6 * columns, rows * (6 * aspect + 0.9)), layout='constrained'
    )
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis('off')
    for ax, (title, image) in zip(axes, panels):
        ax.imshow(image)
        ax.set_title(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def compare(args: argparse.Namespace) -> None:
    """Draw every image, and print the recall over all of them."""
    register_all_modules()
    config_a = load_config(args.config_a, args.cfg_options)
    config_b = load_config(args.config_b, args.cfg_options)
    if tuple(classes_of(config_a)) != tuple(classes_of(config_b)):
        raise ValueError(
            f'the classes of {args.config_a} and {args.config_b} differ'
        )
    dataset = DATASETS.build(config_a.val_dataloader.dataset)
    chosen = select(dataset, args.image_ids, args.number)
    # Titles that tell the models apart: the configs', or the checkpoints'.
    names = [args.config_a.stem, args.config_b.stem]
    if names[0] == names[1]:
        names = [args.checkpoint_a.stem, args.checkpoint_b.stem]
    models = [
        load_model(config_a, args.checkpoint_a, args.device),
        load_model(config_b, args.checkpoint_b, args.device),
    ]
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dataset.metainfo
    all_hits: list[list[np.ndarray]] = [[], []]
    for i in chosen:
        info = dataset.get_data_info(i)
        image = mmcv.imread(info['img_path'], channel_order='rgb')
        truth = ground_truth(info, image.shape[:2])
        truth = truth[truth.masks.flatten(1).any(dim=1)]
        panels = []
        for name, model, hits in zip(names, models, all_hits):
            found = detections(model, info['img_path'], args.score_thr)
            hits.append(recalled(truth, found))
            panels.append(
                (
                    title(name, found, hits[-1]),
                    drawn(visualizer, image, found),
                )
            )
        panels.append(
            (
                f'ground truth (objects: {len(truth)})\n'
                f'image {info["img_id"]}',
                drawn(visualizer, image, truth),
            )
        )
        save_panels(panels, 3, args.out_dir / f'{info["img_id"]}.png')
    print(
        f'{len(chosen)} pictures drawn to {args.out_dir}\n'
        f'objects found with a mask IoU of at least {MASK_IOU} by a detection '
        f'of their class and a score of at least {args.score_thr}:'
    )
    for name, hits in zip(names, all_hits):
        hits = np.concatenate(hits)
        share = f'{hits.mean():.3f}' if len(hits) else '-'
        print(f'  {name}: {hits.sum()} of {len(hits)} (recall {share})')


def main() -> None:
    args = parse_args()
    with one_sentence():
        compare(args)


if __name__ == '__main__':
    main()
