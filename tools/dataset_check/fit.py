"""How a training set's objects fit the image size and anchors of a config."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common.anchor_fit import (
    Objects,
    base_of,
    best_overlaps,
    objects_of,
    resized,
    type_name,
    with_base,
)

import numpy as np
from matplotlib.figure import Figure
from mmdet.registry import TASK_UTILS

from projects.sprnet import EveryObjectLocationSampler, OverlapLocationSampler

from .split import Record

FEW = 0.1  # share of objects without an anchor, up to which nothing is advised
BASES = (4, 3, 2)
FINEST = 4  # stride of backbones' first maps
ENLARGEMENTS = (1.5, 2)


class Rule(NamedTuple):
    """What an object needs of the anchors, and what happens without."""

    iou: float
    effect: str


class Fit(NamedTuple):
    """The objects of a training set, and the anchors of a config."""

    objects: Objects  # as the network sees them
    generator: dict | None  # of the anchors
    rules: list[Rule]


def fit_of(
    records: Sequence[Record], pipeline: Sequence[dict], model: dict
) -> Fit:
    """Compare a training set with a config.

    Args:
        records: Of the set, without faults.
        pipeline: Of the set.
        model: The detector's config.
    """
    objects = objects_of(
        [record.image for record in records],
        [a for record in records for a in record.annotations],
    )
    # A mask head has anchors of its own where the box head has others.
    parts = 'rpn_head', 'mask_head', 'bbox_head'
    heads = (model.get(part) or {} for part in parts)
    generators = (head.get('anchor_generator') for head in heads)
    generator = next((g for g in generators if g), None)
    if generator and type_name(generator) != 'AnchorGenerator':
        generator = None
    return Fit(resized(objects, pipeline), generator, rules_of(model))


def rules_of(model: dict) -> list[Rule]:
    """Find which overlaps train boxes and masks."""
    train = model.get('train_cfg') or {}
    assigner = (train.get('rpn') or train).get('assigner') or {}
    rules = []
    if 'pos_iou_thr' in assigner:
        effect = 'at most their best anchor trains their boxes'
        rules.append(Rule(assigner['pos_iou_thr'], effect))
    sampler = (model.get('mask_head') or {}).get('sampler') or {}
    kind = TASK_UTILS.get(type_name(sampler)) if sampler else None
    if kind in (OverlapLocationSampler, EveryObjectLocationSampler):
        effect = (
            'they train no mask'
            if kind is OverlapLocationSampler
            else 'one location each trains their masks'
        )
        rules.append(Rule(sampler.get('threshold', 0.7), effect))
    return rules


def fit_lines(fit: Fit) -> list[str]:
    """Say how the objects fit; notes, not faults."""
    if not len(fit.objects.boxes):
        return []
    tenth, half, ninth = np.quantile(fit.objects.sides, [0.1, 0.5, 0.9])
    lines = [
        'fit: as the network sees them, the objects have sides of '
        f'{half:.0f} pixels (median); 10% are below {tenth:.0f}, 10% above '
        f'{ninth:.0f}'
    ]
    if fit.generator is None or not fit.rules:
        return lines
    lacking = shares(fit.objects, fit.generator, fit.rules)
    total = len(fit.objects.boxes)
    for rule, share in zip(fit.rules, lacking):
        lines.append(
            f'fit: {round(share * total)} of {total} objects ({share:.0%}) '
            f'have no anchor with an IoU above {rule.iou}: {rule.effect}'
        )
    return lines + (advice(fit, lacking) if max(lacking) > FEW else [])


def shares(
    objects: Objects, generator: dict, rules: Sequence[Rule]
) -> list[float]:
    """Share of objects that lack what each rule demands."""
    best = best_overlaps(objects, generator)
    return [float((best <= rule.iou).mean()) for rule in rules]


def advice(fit: Fit, lacking: Sequence[float]) -> list[str]:
    """List what changes of the config would do."""
    key = 'scales' if fit.generator.get('scales') else 'octave_base_scale'
    built = TASK_UTILS.build(fit.generator)
    finer = [stride // 2 for stride, _ in built.strides]
    now = base_of(fit.generator)
    changes = {
        f'{key}={base}': (fit.objects, with_base(fit.generator, base))
        for base in BASES
        if base != now
    }
    if finer[0] >= FINEST:
        name = f'strides={finer} and neck.start_level one lower'
        changes[name] = fit.objects, dict(fit.generator, strides=finer)
    for factor in ENLARGEMENTS:
        name = f'scale of Resize x {factor}'
        changes[name] = fit.objects.scaled(factor), fit.generator
    rows = {'as it is': lacking}
    for name, (objects, generator) in changes.items():
        rows[name] = shares(objects, generator, fit.rules)
    heads = [f'none above {rule.iou}' for rule in fit.rules]
    width = max(map(len, rows))
    return [f'     {"change":{width}}  {"  ".join(heads)}'] + [
        f'     {name:{width}}  '
        + '  '.join(f'{v:{len(h)}.0%}' for v, h in zip(row, heads))
        for name, row in rows.items()
    ]


def draw_fit(fit: Fit, file: Path) -> None:
    """Draw how many objects there are of each size, how many of them lack an
    anchor, and the sizes of the anchors."""
    figure = Figure(figsize=(8, 4), layout='constrained')
    axes = figure.add_subplot()
    sides = np.maximum(fit.objects.sides, 1)
    bins = np.geomspace(sides.min(), sides.max() + 1, 41)
    axes.hist(sides, bins, color='lightgrey', label='objects')
    if fit.generator is not None:
        best = best_overlaps(fit.objects, fit.generator)
        for rule, colour in zip(fit.rules, ('tab:red', 'tab:orange')):
            axes.hist(
                sides[best <= rule.iou],
                bins,
                histtype='step',
                color=colour,
                label=f'without an anchor of IoU > {rule.iou}',
            )
        built = TASK_UTILS.build(fit.generator)
        for anchors in built.base_anchors:
            area = (anchors[:, 2:] - anchors[:, :2]).prod(dim=1)
            for side in area.sqrt().unique():
                axes.axvline(float(side), color='tab:blue', lw=0.5)
        axes.plot([], [], color='tab:blue', lw=0.5, label='anchors')
    axes.set(
        xscale='log',
        xlabel="side of an object, in pixels of the network's input",
        ylabel='objects',
    )
    axes.legend()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
