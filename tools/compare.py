"""Figure 8: the predictions of two models side by side, with their recall.

    python tools/compare.py CONFIG_A CHECKPOINT_A CONFIG_B CHECKPOINT_B

draws images of config A's validation set to OUT_DIR/IMAGE_ID.png: predictions
of A, predictions of B, ground truth. The title of a picture gives the model's
recall: the share of the image's objects that a detection of the same class,
with a score of at least --score-thr, covers with a mask IoU of at least 0.5.
Crowds and objects without a mask do not count. At the end, the command prints
each model's recall over all images.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

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
from common.configs import ensure_validation_set, load_config, load_model
from common.files import mark
from common.images import ground_truth, select
from common.pictures import draw_objects, make_visualizer

import mmcv
import numpy as np
from matplotlib.figure import Figure
from mmdet.apis import inference_detector
from mmdet.registry import DATASETS
from mmdet.utils import register_all_modules
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask
from torch import nn

from projects.sprnet.errors import InputError

MASK_IOU = 0.5
LEAST_SIDE = 400  # of a drawn image's long side, in pixels


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    add_out_dir(parser, 'comparison')
    for model in 'ab':
        for kind in ('config', 'checkpoint'):
            name = f'{kind}_{model}'
            parser.add_argument(name, type=existing, metavar=name.upper())
    add_selection(parser)
    parser.add_argument(
        '--score-thr',
        type=score,
        default=0.3,
        help='ignore detections of a lower score (0.3)',
    )
    add_device(parser)
    add_cfg_options(parser)
    return parser.parse_args()


def recalled(truth: InstanceData, detected: InstanceData) -> np.ndarray:
    """Find the objects that a detection of their class covers.

    Args:
        truth: G objects, with ``labels`` (G,) and ``masks`` (G, H, W) bool.
        detected: n detections, with the same fields.

    Returns:
        (G,) bool.
    """

    def encode(objects: InstanceData) -> list[dict]:
        return [
            coco_mask.encode(np.asfortranarray(mask, np.uint8))
            for mask in objects.masks.numpy()
        ]

    if not len(truth) or not len(detected):
        return np.zeros(len(truth), bool)
    overlaps = coco_mask.iou(encode(detected), encode(truth), [0] * len(truth))
    same_class = (detected.labels[:, None] == truth.labels).numpy()
    return ((overlaps >= MASK_IOU) & same_class).any(axis=0)


def detections(
    model: nn.Module, image: Path, threshold: float
) -> InstanceData:
    """Detect the objects of an image with at least a score.

    Raises:
        InputError: The model predicts no masks.
    """
    detected = inference_detector(model, str(image)).pred_instances
    if 'masks' not in detected:
        raise InputError(
            f'{type(model).__name__} predicts no masks; use the config of an '
            'instance segmentation model'
        )
    return detected[detected.scores >= threshold].cpu()


def classes_of(config: Config) -> Sequence[str]:
    """The classes of a config's validation set."""
    lazy = dict(config.val_dataloader.dataset, lazy_init=True)
    return DATASETS.build(lazy).metainfo['classes']


def recall(hits: np.ndarray, digits: int) -> str:
    """Describe the recall of objects whose hits (G,) are bool."""
    share = f'{hits.mean():.{digits}f}' if len(hits) else '-'
    return f'{hits.sum()} of {len(hits)} (recall {share})'


def title(name: str, detected: InstanceData, hits: np.ndarray) -> str:
    """The title of a model's picture."""
    return (
        f'{name}\ndetections: {len(detected)}, '
        f'objects found: {recall(hits, 2)}'
    )


def save_row(panels: Sequence[tuple[str, np.ndarray]], path: Path) -> None:
    """Save titled pictures, (H, W, 3) uint8 RGB, side by side."""
    aspect = max(image.shape[0] / image.shape[1] for _, image in panels)
    figure = Figure(
        figsize=(6 * len(panels), 6 * aspect + 0.9), layout='constrained'
    )
    for ax, (title, image) in zip(figure.subplots(1, len(panels)), panels):
        ax.axis('off')
        ax.imshow(image)
        ax.set_title(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def compare_image(
    info: dict,
    models: Sequence[nn.Module],
    names: Sequence[str],
    visualizer: DetLocalVisualizer,
    args: argparse.Namespace,
) -> list[np.ndarray]:
    """Draw one image; return :func:`recalled` of each model.

    Args:
        info: The image's entry, from the data set's ``get_data_info``.
    """
    image = mmcv.imread(info['img_path'], channel_order='rgb')
    truth = ground_truth(info, image.shape[:2])
    truth = truth[truth.masks.flatten(1).any(dim=1)]
    panels, all_hits = [], []
    for name, model in zip(names, models):
        detected = detections(model, info['img_path'], args.score_thr)
        hits = recalled(truth, detected)
        picture = draw_objects(visualizer, image, detected, LEAST_SIDE)
        panels.append((title(name, detected, hits), picture))
        all_hits.append(hits)
    truth_title = (
        f'ground truth (objects: {len(truth)})\nimage {info["img_id"]}'
    )
    picture = draw_objects(visualizer, image, truth, LEAST_SIDE)
    panels.append((truth_title, picture))
    save_row(panels, args.out_dir / f'{info["img_id"]}.png')
    return all_hits


def compare(args: argparse.Namespace) -> None:
    """Draw all images, and print the recall over them."""
    register_all_modules()
    config_a = load_config(args.config_a, args.cfg_options)
    config_b = load_config(args.config_b, args.cfg_options)
    ensure_validation_set(config_a)
    ensure_validation_set(config_b)
    if tuple(classes_of(config_a)) != tuple(classes_of(config_b)):
        raise InputError(
            f'the classes of {args.config_a} and {args.config_b} differ; '
            'compare models of the same classes'
        )
    dataset = DATASETS.build(config_a.val_dataloader.dataset)
    chosen = select(dataset, args.image_ids, args.number)
    names = [args.config_a.stem, args.config_b.stem]
    if names[0] == names[1]:
        names = [args.checkpoint_a.stem, args.checkpoint_b.stem]
    models = [
        load_model(config_a, args.checkpoint_a, args.device),
        load_model(config_b, args.checkpoint_b, args.device),
    ]
    mark(args.out_dir)
    visualizer = make_visualizer(config_a, dataset.metainfo)
    hits = [
        compare_image(
            dataset.get_data_info(i), models, names, visualizer, args
        )
        for i in chosen
    ]
    print(
        f'{len(chosen)} pictures drawn to {args.out_dir}\n'
        f'objects found with a mask IoU of at least {MASK_IOU} by a detection '
        f'of their class and a score of at least {args.score_thr}:'
    )
    for name, model_hits in zip(names, zip(*hits)):
        print(f'  {name}: {recall(np.concatenate(model_hits), 3)}')


def main() -> None:
    args = parse_args()
    with one_sentence():
        compare(args)


if __name__ == '__main__':
    main()
