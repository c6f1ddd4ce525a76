"""Look for what is wrong with a config's data before training does.

    python tools/check_dataset.py CONFIG --cfg-options data_root=FOLDER

walks the images and annotations that CONFIG trains, validates and tests on,
decodes every image, and reports all the faults of their JSONs, images, boxes
and masks at once, kind by kind: what they are, what MMDetection would do, and
the remedy. Errors would stop training or testing, or make them wrong; the
command fails if there are any. MMDetection survives what it warns of.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from common.cli import (
    add_cfg_options,
    at_least_one,
    existing,
    one_sentence,
    parser_of,
)
from common.configs import leaves, load_config
from dataset_check.annotations import Record, Split, check_json, read
from dataset_check.faults import KINDS, Fault, report
from dataset_check.images import check_record
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS, METRICS, MODELS
from mmdet.utils import register_all_modules
from mmengine import track_parallel_progress, track_progress
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from PIL import Image

from projects.sprnet import CheckedCocoDataset, CocoAPARMetric, SPRHead

LOADERS = ('train', 'val', 'test')
CHUNK = 16  # images that a process takes at once


def parse_args() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument('config', type=existing)
    parser.add_argument(
        '--first',
        type=at_least_one,
        default=5,
        help='show so many faults of each kind (5)',
    )
    parser.add_argument(
        '--out', type=Path, help='also write all of the faults to this file'
    )
    parser.add_argument(
        '--processes',
        type=at_least_one,
        default=os.cpu_count(),
        help='that look at images (as many as there are CPUs)',
    )
    add_cfg_options(parser)
    return parser.parse_args()


def splits_of(config: Config) -> list[tuple[str, Split]]:
    """The data sets of a config, each once, under its loaders' names.

    Raises:
        ValueError: A data set that is not read from a COCO JSON.
    """
    found: list[tuple[str, Split]] = []
    for name in LOADERS:
        loader = config.get(f'{name}_dataloader')
        for dataset in datasets_in(loader.dataset) if loader else ():
            split = split_of(config, name, dataset)
            same = [i for i, (_, other) in enumerate(found) if other == split]
            if same:
                names = f'{found[same[0]][0]} and {name}'
                found[same[0]] = names, split
            else:
                found.append((name, split))
    return found


def datasets_in(dataset: dict) -> Iterator[dict]:
    """The data sets that a config's data set wraps, or itself."""
    wrapped = dataset.get('datasets', [dataset.get('dataset')])
    if wrapped == [None]:
        yield dataset
        return
    for one in wrapped:
        yield from datasets_in(one)


def split_of(config: Config, name: str, dataset: dict) -> Split:
    """What a config does with one of its loaders' data sets."""
    kind = DATASETS.get(dataset.type)
    if getattr(kind, 'load_data_list', 0) != CocoDataset.load_data_list:
        raise ValueError(
            f'the {name} data set is a {dataset.type}; only those that are '
            'read from a COCO JSON can be checked'
        )
    built = DATASETS.build(dict(dataset, lazy_init=True, pipeline=[]))
    classes = built.metainfo['classes']
    if isinstance(classes, str):
        raise ValueError(
            f'classes of the {name} data set is a text; for a single class '
            f'write metainfo=dict(classes=({classes!r},))'
        )
    transforms = {t['type']: t for t in dataset.get('pipeline', [])}
    load = transforms.get('LoadImageFromFile', {})
    metrics = [] if name == 'train' else evaluators(config, name)
    return Split(
        ann_file=built.ann_file,
        folder=built.data_prefix.get('img', ''),
        classes=list(classes),
        num_classes={
            f'model.{key}': value
            for key, value in leaves(config.model.to_dict())
            if key.endswith('.num_classes')
            # These have classes of their own.
            and not {'rpn_head', 'semantic_head'} & set(key.split('.'))
        },
        masks=any(t.get('with_mask') for t in transforms.values()),
        masks_optional=masks_optional(config, built, metrics),
        metrics=[kind for m in metrics for kind in listed(m.metric)],
        evaluated_files=[m.ann_file for m in metrics if m.get('ann_file')],
        filter_cfg={} if built.test_mode else dict(built.filter_cfg or {}),
        loading=dict(
            flag=load.get('color_type', 'color'),
            backend=load.get('imdecode_backend', 'cv2'),
        ),
        max_pixels=getattr(built, 'max_pixels', Image.MAX_IMAGE_PIXELS),
    )


def masks_optional(
    config: Config, dataset: BaseDataset, metrics: list[dict]
) -> bool:
    """Whether an object without a mask trains and tests its box alone."""

    def is_a(registry, part: dict, kind: type) -> bool:
        found = registry.get(part.get('type', ''))
        return isinstance(found, type) and issubclass(found, kind)

    return (
        isinstance(dataset, CheckedCocoDataset)
        and not dataset.require_masks
        and is_a(MODELS, config.model.get('mask_head') or {}, SPRHead)
        and all(is_a(METRICS, metric, CocoAPARMetric) for metric in metrics)
    )


def evaluators(config: Config, name: str) -> list[dict]:
    """The metrics of a loader that compare with annotations."""
    return [
        metric
        for metric in listed(config.get(f'{name}_evaluator') or [])
        if metric.get('metric') and not metric.get('format_only')
    ]


def listed(value: object) -> list:
    return value if isinstance(value, list) else [value]


def check(split: Split, processes: int) -> tuple[list[Record], list[Fault]]:
    """The records of a data set, and all of its faults."""
    data, faults = read(split.ann_file)
    if faults:
        return [], faults
    records, faults = check_json(data, split)
    if not records:
        return [], faults
    look = partial(check_record, split=split)
    processes = min(processes, len(records) // CHUNK)
    if processes > 1:
        found = track_parallel_progress(
            look, records, processes, chunksize=CHUNK
        )
    else:
        found = track_progress(look, records)
    return records, faults + [fault for part in found for fault in part]


def main() -> None:
    args = parse_args()

    register_all_modules()
    with one_sentence():
        config = load_config(args.config, args.cfg_options)
        splits = splits_of(config)
    lines, everything, errors = [], [], 0
    for name, split in splits:
        print(f'\n{name}: {split.ann_file}', flush=True)
        records, faults = check(split, args.processes)
        objects = [a for record in records for a in record.annotations]
        crowds = sum(bool(a.get('iscrowd')) for a in objects)
        count = sum(not a.get('segmentation') for a in objects)
        boxes_alone = f', {count} without a mask' if count else ''
        title = (
            f'{name}: {len(records)} images, {len(objects)} objects, '
            f'{crowds} of them crowds{boxes_alone}: '
            f'{len(faults) or "no"} faults'
        )
        lines += ['', title, *report(faults, args.first)]
        everything += ['', title, *report(faults, len(faults))]
        errors += sum(KINDS[fault.kind].fatal for fault in faults)
    print('\n'.join(lines))
    if args.out:
        with one_sentence():
            args.out.write_text('\n'.join(everything[1:] + ['']))
        print(f'\nwrote all of them to {args.out}')
    if errors:
        sys.exit(f'check_dataset.py: {errors} errors, see above')


if __name__ == '__main__':
    main()
