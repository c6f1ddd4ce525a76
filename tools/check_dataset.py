"""Find what is wrong with a config's data before training starts.

    python tools/check_dataset.py CONFIG --cfg-options data_root=FOLDER

checks the images and annotations that CONFIG trains, validates and tests on,
and decodes every image. It reports all faults of the JSONs, images, boxes and
masks at once, by kind: what MMDetection does about them, and the remedy.

    ERROR      training or testing would stop, or learn or measure something
               that nobody annotated; the command fails
    warning    MMDetection goes on, but part of the data may be lost
    note       MMDetection handles it well; not counted as a fault

Then it says how the training set fits the config: the sizes of the objects as
the network sees them, how many have no anchor that trains them, and what to
change.
"""

import argparse
import sys
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common.cli import (
    add_cfg_options,
    at_least_one,
    existing,
    one_sentence,
    parser_of,
)
from common.configs import leaves, load_config
from common.next_step import print_next
from common.progress import track
from common.threads import available_cpus

import numpy as np
from dataset_check.annotations import check_json, read
from dataset_check.contents import check_learnt, identities
from dataset_check.faults import Fault
from dataset_check.fit import Fit, draw_fit, fit_lines, fit_of
from dataset_check.images import check_record
from dataset_check.pipeline import check_pipeline
from dataset_check.report import count, report
from dataset_check.split import Record, Split
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS, METRICS, MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import Registry
from PIL import Image

from projects.sprnet import SPRHead
from projects.sprnet.errors import InputError
from projects.sprnet.runtime import CheckedCocoDataset, CocoAPARMetric
from projects.sprnet.runtime.datasets import check_metainfo, inner_datasets

LOADERS = ('train', 'val', 'test')
CHUNK = 16  # images that a process takes at once
# As MMEngine's data loaders. Python 3.14 would import torch in each process.
START_METHOD = 'fork' if sys.platform == 'linux' else None


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('config', type=existing)
    parser.add_argument(
        '--first',
        type=at_least_one,
        default=5,
        help='how many faults of each kind to show (5)',
    )
    parser.add_argument(
        '--out', type=Path, help='also write all faults to this file'
    )
    parser.add_argument(
        '--picture',
        type=Path,
        help='also draw the sizes of objects and anchors to this file',
    )
    parser.add_argument(
        '--processes',
        type=at_least_one,
        default=available_cpus(),
        help='how many processes check images (one per CPU)',
    )
    add_cfg_options(parser)
    return parser.parse_args()


def splits_of(config: Config) -> list[tuple[str, Split]]:
    """List the data sets of a config, with the names of their loaders.

    A data set that several loaders use in the same way is listed once.

    Raises:
        InputError: A data set is not read from a COCO JSON.
    """
    splits: list[tuple[str, Split]] = []
    for name in LOADERS:
        loader = config.get(f'{name}_dataloader')
        for dataset in inner_datasets(loader.dataset) if loader else ():
            split = split_of(config, name, dataset)
            for i, (names, other) in enumerate(splits):
                if other == split:
                    splits[i] = f'{names} and {name}', split
                    break
            else:
                splits.append((name, split))
    return splits


def split_of(config: Config, name: str, dataset: dict) -> Split:
    """Describe how a config uses a data set of the loader ``name``."""
    kind = type_of(DATASETS, dataset)
    if kind is None:
        raise InputError(
            f'the {name} data set has the type {dataset.type!r}, which is not '
            'registered; correct it, or name its module in custom_imports'
        )
    readers = CocoDataset.load_data_list, CheckedCocoDataset.load_data_list
    if getattr(kind, 'load_data_list', 0) not in readers:
        raise InputError(
            f'the {name} data set has the type {dataset.type}; only data sets '
            'that are read from a COCO JSON can be checked'
        )
    try:
        built = DATASETS.build(dict(dataset, lazy_init=True))
    except Exception as error:  # of any type, from a step of the pipeline
        reason = ' '.join(str((error.args or [error])[0]).split())
        raise InputError(f'the {name} data set: {reason}') from error
    check_metainfo(built.ann_file, built.metainfo)
    masks = any(step.get('with_mask') for step in dataset.get('pipeline', []))
    if name == 'train' and config.model.get('mask_head') and not masks:
        raise InputError(
            'train_dataloader.dataset.pipeline loads no masks for '
            'model.mask_head; give its LoadAnnotations with_mask=True'
        )
    metrics = [] if name == 'train' else evaluators(config, name)
    return Split(
        ann_file=built.ann_file,
        folder=built.data_prefix.get('img', ''),
        classes=list(built.metainfo['classes']),
        num_classes={
            f'model.{key}': value
            for key, value in leaves(config.model.to_dict())
            if key.endswith('.num_classes')
            # These heads have classes of their own.
            and not {'rpn_head', 'semantic_head'} & set(key.split('.'))
        },
        training=name == 'train',
        masks=masks,
        masks_optional=masks_optional(config, built, metrics),
        metrics=[kind for m in metrics for kind in as_list(m.metric)],
        evaluated_files=[m.ann_file for m in metrics if m.get('ann_file')],
        completes=all(is_a(METRICS, m, CocoAPARMetric) for m in metrics),
        filter_cfg={} if built.test_mode else dict(built.filter_cfg or {}),
        dataset=dataset.to_dict(),
        max_pixels=getattr(built, 'max_pixels', Image.MAX_IMAGE_PIXELS),
        max_detections=max_detections(config),
        max_counted=min(map(max_counted, metrics), default=100),
    )


def max_detections(config: Config) -> float:
    """How many objects a model finds in an image."""
    settings = config.model.get('test_cfg') or {}
    settings = settings.get('rcnn') or settings
    return settings.get('max_per_img', float('inf'))


def max_counted(metric: dict) -> int:
    """How many detections of a class in an image a metric's AP counts."""
    if not is_a(METRICS, metric, CocoAPARMetric):
        return 100  # whatever CocoMetric's proposal_nums are
    return int(np.max(metric.get('proposal_nums', 100)))


def is_a(registry: Registry, part: dict, kind: type) -> bool:
    """Tell whether a part of a config is of a class or a subclass."""
    registered = type_of(registry, part)
    return isinstance(registered, type) and issubclass(registered, kind)


def type_of(registry: Registry, part: dict) -> type | None:
    """The class of a part of a config; pure Python configs hold it."""
    kind = part.get('type', '')
    return registry.get(kind) if isinstance(kind, str) else kind


def masks_optional(
    config: Config, dataset: BaseDataset, metrics: list[dict]
) -> bool:
    """Tell whether objects without a mask train and test their boxes only."""
    return (
        isinstance(dataset, CheckedCocoDataset)
        and not dataset.require_masks
        and is_a(MODELS, config.model.get('mask_head') or {}, SPRHead)
        and all(is_a(METRICS, metric, CocoAPARMetric) for metric in metrics)
    )


def evaluators(config: Config, name: str) -> list[dict]:
    """List the metrics of a loader that compare with annotations."""
    return [
        metric
        for metric in as_list(config.get(f'{name}_evaluator') or [])
        if metric.get('metric') and not metric.get('format_only')
    ]


def as_list(value: Any) -> list:
    return value if isinstance(value, list) else [value]


def check(split: Split, processes: int) -> tuple[list[Record], list[Fault]]:
    """Check a data set; return its records and all faults."""
    data, faults = read(split.ann_file)
    if faults:
        return [], faults
    records, faults = check_json(data, split)
    if not records:
        return [], faults
    dataset = DATASETS.build(dict(split.dataset, lazy_init=True))
    check_one = partial(check_record, split=split, dataset=dataset)
    processes = min(processes, len(records) // CHUNK)
    if processes > 1:
        with get_context(START_METHOD).Pool(processes) as pool:
            found = pool.imap(check_one, records, CHUNK)
            parts = list(track(found, 'images', len(records)))
    else:
        parts = map(check_one, track(records, 'images'))
    return records, faults + [fault for part in parts for fault in part]


def title(name: str, records: list[Record], faults: list[Fault]) -> str:
    """Say what a data set contains, and how many faults it has."""
    objects = [a for record in records for a in record.annotations]
    crowds = sum(bool(a.get('iscrowd')) for a in objects)
    unmasked = sum(not a.get('segmentation') for a in objects)
    without = f', {unmasked} without a mask' if unmasked else ''
    return (
        f'{name}: {len(records)} images, {len(objects)} objects, {crowds} of '
        f'them crowds{without}: '
        f'{count(faults, "error", "warning") or "no"} faults'
    )


def main() -> None:
    args = parse_args()

    register_all_modules()
    with one_sentence():
        config = load_config(args.config, args.cfg_options)
        splits = splits_of(config)
    lines, all_lines, errors = [], [], 0
    learnt: set[str] = set()
    fits: list[Fit] = []
    for name, split in splits:
        print(f'\n{name}: {split.ann_file}', flush=True)
        records, faults = check(split, args.processes)
        if split.training:
            learnt.update(*identities(records, split))
        elif split.metrics:
            faults += check_learnt(records, split, learnt)
        heading = title(name, records, faults)
        lines += ['', heading, *report(faults, args.first)]
        all_lines += ['', heading, *report(faults, len(faults))]
        errors += count(faults, 'error')
        if split.training and not count(faults, 'error'):
            pipeline = split.dataset.get('pipeline', [])
            fits.append(fit_of(records, pipeline, config.model))
            lines += fit_lines(fits[-1])
    print('\n'.join(lines))
    if args.out:
        with one_sentence():
            args.out.write_text('\n'.join(all_lines[1:] + ['']))
        print(f'\nwrote all faults to {args.out}')
    if errors:
        sys.exit(f'check_dataset.py: {errors} errors, see above')
    loader = config.get('train_dataloader')
    if loader and is_a(MODELS, config.model.get('mask_head') or {}, SPRHead):
        with one_sentence():
            check_pipeline(loader.dataset)
    if args.picture and fits:
        draw_fit(fits[0], args.picture)
        print(f'\ndrew {args.picture}')
    if loader:
        print_next('train.py', args.config, argv=sys.argv)


if __name__ == '__main__':
    main()
