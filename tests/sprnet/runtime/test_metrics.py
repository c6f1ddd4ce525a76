"""The metric, compared with pycocotools called directly."""

import json
import sys
from unittest import mock

import faster_coco_eval
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mmdet.registry import METRICS
from mmengine.config import Config
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.helpers import CONFIGS

from projects.sprnet.runtime import coco_comparison, metrics

SIZE = 240
CLASSES = ('a', 'b', 'c')
# pycocotools' order of COCOeval.stats with maxDets 1, 10, 100
NAMES = [
    *('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l'),
    *('AR_1', 'AR_10', 'AR_100', 'AR_s', 'AR_m', 'AR_l'),
]


def ellipse(box):
    x1, y1, x2, y2 = box
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    return ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + (
        (2 * y - y1 - y2) / (y2 - y1)
    ) ** 2 <= 1


def rle(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return dict(size=encoded['size'], counts=encoded['counts'].decode())


def random_boxes(rng, count):
    sides = rng.choice([20, 60, 140], (count, 1)) * rng.uniform(
        0.8, 1.2, (count, 2)
    )
    corner = rng.uniform(0, SIZE - sides)
    return np.concatenate([corner, corner + sides], 1)


def write_truth(rng, file, counts):
    """Write one image with annotations per count; every ninth is a crowd."""
    annotations = [
        dict(
            image_id=image,
            category_id=int(rng.integers(len(CLASSES))) + 1,
            iscrowd=int(rng.random() < 1 / 9),
            segmentation=rle(ellipse(box)),
            area=float(ellipse(box).sum()),
            bbox=[*box[:2], *(box[2:] - box[:2])],
        )
        for image, count in enumerate(counts)
        for box in random_boxes(rng, count)
    ]
    truth = dict(
        images=[
            dict(id=i, height=SIZE, width=SIZE) for i in range(len(counts))
        ],
        categories=[
            dict(id=i, name=name) for i, name in enumerate(CLASSES, start=1)
        ],
        annotations=[dict(a, id=i) for i, a in enumerate(annotations, 1)],
    )
    file.write_text(json.dumps(truth, default=float))
    return truth['annotations']


def detect(rng, annotations, image, extra):
    """Two inexact copies of each object, and false positives."""
    near = [a for a in annotations if a['image_id'] == image] * 2
    boxes = np.array([a['bbox'] for a in near]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes += rng.normal(0, 3, boxes.shape)
    boxes = np.concatenate([boxes, random_boxes(rng, extra)])
    labels = [a['category_id'] - 1 for a in near]
    labels += rng.integers(len(CLASSES), size=extra).tolist()
    return dict(
        bboxes=torch.tensor(boxes, dtype=torch.float32),
        scores=torch.tensor(rng.random(len(boxes)), dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.long),
        masks=torch.tensor(
            np.array([ellipse(b) for b in boxes]).reshape(-1, SIZE, SIZE)
        ),
    )


def evaluate(file, detections, name=lambda n: n, **options):
    metric = METRICS.build(
        dict(type='CocoAPARMetric', ann_file=str(file), **options)
    )
    metric.dataset_meta = dict(classes=CLASSES)
    for image, found in enumerate(detections):
        sample = dict(
            img_id=name(image), ori_shape=(SIZE, SIZE), pred_instances=found
        )
        metric.process({}, [sample])
    return metric.evaluate(len(detections))


def evaluate_directly(file, detections, kind, limits=(1, 10, 100)):
    """COCOeval's evaluation of the detections."""
    entries = []
    for image, found in enumerate(detections):
        for box, score, label, mask in zip(
            found['bboxes'].tolist(),
            found['scores'].tolist(),
            found['labels'].tolist(),
            found['masks'].numpy(),
        ):
            shape = (
                dict(bbox=[*box[:2], box[2] - box[0], box[3] - box[1]])
                if kind == 'bbox'
                else dict(segmentation=rle(mask))
            )
            entries.append(
                dict(shape, image_id=image, category_id=label + 1, score=score)
            )
    truth = COCO(str(file))
    evaluation = COCOeval(truth, truth.loadRes(entries), kind)
    evaluation.params.maxDets = list(limits)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
    """Annotations and detections of four images: one with many detections,
    one without objects."""
    rng = np.random.default_rng(0)
    file = tmp_path_factory.mktemp('truth') / 'truth.json'
    annotations = write_truth(rng, file, [25, 6, 0, 12])
    return file, [
        detect(rng, annotations, image, extra)
        for image, extra in enumerate([350, 3, 2, 0])
    ]


@pytest.mark.parametrize('kinds', [['bbox'], ['segm'], ['bbox', 'segm']])
def test_equals_pycocotools(scene, kinds):
    file, detections = scene
    figures = evaluate(file, detections, metric=kinds)
    expected = {
        f'coco/{kind}_{name}': float(f'{value:.3f}')
        for kind in kinds
        for name, value in zip(
            NAMES, evaluate_directly(file, detections, kind).stats
        )
    }
    # Equal keys: none of mmdet's AR@100 to AR_l@1000 is left
    assert figures == pytest.approx(expected, abs=1e-9)
    recalls = [figures[f'coco/{kinds[0]}_{name}'] for name in NAMES[6:9]]
    assert recalls == sorted(set(recalls)), 'the scene must tell them apart'


@pytest.mark.parametrize('reason', ['not installed', 'fails'])
def test_pycocotools_stands_in_and_says_so_once(scene, monkeypatch, reason):
    file, detections = scene
    expected = evaluate(file, detections, metric=['bbox', 'segm'])
    lines = []
    monkeypatch.setattr(
        coco_comparison, 'print_log', lambda text, *_: lines.append(text)
    )
    coco_comparison._warn_once.cache_clear()
    if reason == 'fails':
        broken = mock.Mock(side_effect=TypeError('an id of text'))
        monkeypatch.setattr(faster_coco_eval, 'COCOeval_faster', broken)
    else:
        monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    for _ in range(2):
        assert evaluate(file, detections, metric=['bbox', 'segm']) == expected
    (said,) = [line for line in lines if 'pycocotools compares' in line]
    assert reason in said


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_random_scenes_equal_pycocotools(tmp_path_factory, data):
    """Empty pictures, crowds, many objects, equal scores."""
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    counts = data.draw(st.lists(st.integers(0, 30), min_size=1, max_size=4))
    file = tmp_path_factory.mktemp('random') / 'truth.json'
    annotations = write_truth(rng, file, counts)
    detections = [
        detect(rng, annotations, image, data.draw(st.integers(0, 130)))
        for image in range(len(counts))
    ]
    assume(any(len(found['labels']) for found in detections))
    if data.draw(st.booleans()):
        for found in detections:
            found['scores'] = (found['scores'] * 4).round() / 4
    figures = evaluate(file, detections, metric=['bbox', 'segm'])
    for kind in ('bbox', 'segm'):
        stats = evaluate_directly(file, detections, kind).stats
        for name, value in zip(NAMES, stats):
            expected = float(f'{value:.3f}')
            assert figures[f'coco/{kind}_{name}'] == expected, name


@pytest.mark.parametrize('name', ['picture {}'.format, lambda n: n])
def test_ids_of_images_change_nothing(scene, tmp_path, name):
    """Of text, and numbers from 0."""
    file, detections = scene
    data = json.loads(file.read_text())
    for one in data['images']:
        one['id'] = name(one['id'])
    for one in data['annotations']:
        one['image_id'] = name(one['image_id'])
    other = tmp_path / 'other.json'
    other.write_text(json.dumps(data))
    named = evaluate(other, detections, name, metric=['bbox', 'segm'])
    assert named == evaluate(file, detections, metric=['bbox', 'segm'])


def test_an_absent_size_is_minus_one(tmp_path):
    rng = np.random.default_rng(1)
    file = tmp_path / 'truth.json'
    annotations = write_truth(rng, file, [30])
    small = [a for a in annotations if a['area'] < 32**2]
    truth = json.loads(file.read_text())
    file.write_text(json.dumps(dict(truth, annotations=small)))
    figures = evaluate(file, [detect(rng, small, 0, 2)], metric='segm')
    assert figures['coco/segm_AR_l'] == figures['coco/segm_mAP_l'] == -1
    assert figures['coco/segm_AR_s'] > 0


def test_only_tested_images_count(scene, tmp_path, monkeypatch):
    file, detections = scene
    truth = json.loads(file.read_text())
    tested = dict(
        truth,
        images=truth['images'][:2],
        annotations=[a for a in truth['annotations'] if a['image_id'] < 2],
    )
    alone = tmp_path / 'tested.json'
    alone.write_text(json.dumps(tested))
    lines = []
    monkeypatch.setattr(
        metrics, 'print_log', lambda text, *_: lines.append(text)
    )
    figures = evaluate(file, detections[:2], metric=['bbox', 'segm'])
    assert lines[0] == (
        f'the figures are of 2 of the 4 images of {file}: no others were '
        'tested'
    )
    lines.clear()
    assert figures == evaluate(alone, detections[:2], metric=['bbox', 'segm'])
    assert len(lines) == 1  # the table


def test_no_detection_at_all(scene):
    none = detect(np.random.default_rng(0), [], 0, 0)
    assert evaluate(scene[0], [none] * 4, metric=['bbox', 'segm']) == {}


def test_figures_are_logged_as_a_table(scene, monkeypatch):
    lines = []
    monkeypatch.setattr(
        metrics, 'print_log', lambda text, _: lines.append(text)
    )
    figures = evaluate(*scene, metric=['bbox', 'segm'])
    (text,) = lines
    head, bbox, segm = (
        [cell.strip() for cell in line.split('|')[1:-1]]
        for line in text.splitlines()
        if '|' in line
    )
    for kind, *row in (bbox, segm):
        for name, shown in zip(head[1:], row, strict=True):
            figure = figures.pop(f'coco/{kind}_{name}')
            assert shown == ('-' if figure == -1 else f'{figure:.3f}')
    assert not figures


def test_classwise_figures_keep_their_names(scene):
    figures = evaluate(*scene, metric='bbox', classwise=True)
    assert {f'coco/bbox_{name}_precision' for name in CLASSES} < set(figures)


def test_objects_without_a_mask_count_for_boxes_only(tmp_path):
    """Masks detected there are neither right nor wrong."""
    rng = np.random.default_rng(2)
    file, only = tmp_path / 'truth.json', tmp_path / 'masked.json'
    annotations = write_truth(rng, file, [8, 8, 8])
    truth = json.loads(file.read_text())
    objects = [a for a in truth['annotations'] if not a['iscrowd']]
    boxed = {a['id'] for a in objects[::3]}

    # One detection inside each object, none anywhere else
    detections = []
    for image in range(3):
        found = detect(rng, annotations, image, 0)
        near = [a for a in annotations if a['image_id'] == image]
        kept = [i for i, a in enumerate(near) if not a['iscrowd']]
        detections.append({k: v[kept] for k, v in found.items()})
    whole = evaluate(file, detections, metric=['bbox', 'segm'])
    for one in truth['annotations']:
        if one['id'] in boxed:
            del one['segmentation']
    file.write_text(json.dumps(truth))
    partly = evaluate(file, detections, metric=['bbox', 'segm'])
    for name in NAMES:
        key = f'coco/bbox_{name}'
        assert partly[key] == whole[key]

    # Without those objects and what was found of them
    masked = [a for a in truth['annotations'] if a['id'] not in boxed]
    only.write_text(json.dumps(dict(truth, annotations=masked)))
    fewer = []
    for image, found in enumerate(detections):
        near = [a for a in objects if a['image_id'] == image]
        kept = [i for i, a in enumerate(near) if a['id'] not in boxed]
        fewer.append({k: v[kept] for k, v in found.items()})
    expected = evaluate(only, fewer, metric='segm')
    for name in NAMES:
        key = f'coco/segm_{name}'
        assert partly[key] == expected[key], name
    assert 0 < expected['coco/segm_mAP'] < 1
    assert expected['coco/segm_mAP'] != whole['coco/segm_mAP']


@pytest.mark.parametrize('kind', ['proposal', 'proposal_fast'])
def test_refuses_proposals(scene, kind):
    with pytest.raises(ValueError, match=f"metric=.*'{kind}'"):
        evaluate(*scene, metric=['bbox', kind])


@pytest.mark.parametrize(
    'config',
    ['sprnet_r18_gfpn_shapes', 'sprnet_r50_gfpn_paper-500_coco'],
)
def test_configs_use_it(config):
    cfg = Config.fromfile(CONFIGS / f'{config}.py')
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        assert evaluator.type == 'CocoAPARMetric'
        assert evaluator.metric == ['bbox', 'segm']
        assert evaluator.ann_file.startswith(cfg.data_root)


def test_per_class_figures_of_boxes_and_masks_have_names_of_their_own(scene):
    file, detections = scene
    figures = evaluate(
        file, detections, metric=['bbox', 'segm'], classwise=True
    )
    for kind in ('bbox', 'segm'):
        alone = evaluate(file, detections, metric=kind, classwise=True)
        for name in CLASSES:
            key = f'coco/{kind}_{name}_precision'
            assert figures[key] == alone[key]


def test_a_missing_iscrowd_is_0(scene, tmp_path):
    file, detections = scene
    data = json.loads(file.read_text())
    for one in data['annotations']:
        one['iscrowd'] = 0
    zeros, without = tmp_path / 'zeros.json', tmp_path / 'without.json'
    zeros.write_text(json.dumps(data))
    for one in data['annotations']:
        del one['iscrowd']
    without.write_text(json.dumps(data))
    kinds = ['bbox', 'segm']
    assert evaluate(without, detections, metric=kinds) == evaluate(
        zeros, detections, metric=kinds
    )


def test_ids_of_annotations_change_nothing(scene, tmp_path):
    file, detections = scene
    data = json.loads(file.read_text())
    expected = evaluate(file, detections, metric=['bbox', 'segm'])
    for kind in (int, 'object {}'.format):
        for n, one in enumerate(data['annotations']):
            one['id'] = kind(n)
        other = tmp_path / 'other.json'
        other.write_text(json.dumps(data))
        figures = evaluate(other, detections, metric=['bbox', 'segm'])
        assert figures == expected


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
@pytest.mark.parametrize('limits', [(100, 300, 1000), (1, 10, 300), (2, 5, 9)])
def test_other_limits_of_detections(limits, kind, scene):
    """All but mAP are pycocotools' own; it takes mAP at 100 detections only,
    so that is averaged from its precisions."""
    file, detections = scene
    figures = evaluate(file, detections, metric=kind, proposal_nums=limits)
    expected = evaluate_directly(file, detections, kind, limits)
    first, middle, last = limits
    names = [*NAMES[1:6], f'AR_{first}', f'AR_{middle}', f'AR_{last}']
    named = dict(zip([*names, *NAMES[9:]], expected.stats[1:]))
    precision = expected.eval['precision'][:, :, :, 0, 2]
    named['mAP'] = precision[precision > -1].mean()
    assert figures == pytest.approx(
        {f'coco/{kind}_{name}': v for name, v in named.items()}, abs=6e-4
    )
    assert 0 < figures[f'coco/{kind}_mAP'] < figures[f'coco/{kind}_mAP_50']


def grid_of_objects(file, count):
    """Write an image with many small objects of a class; detect them all."""
    places = np.stack(np.divmod(np.arange(count), 15), axis=1) * 16.0
    boxes = np.concatenate([places, places + 10], axis=1)
    annotations = [
        dict(
            id=n,
            image_id=0,
            category_id=1,
            iscrowd=0,
            area=100,
            bbox=[x, y, 10, 10],
        )
        for n, (x, y) in enumerate(places.tolist(), 1)
    ]
    truth = dict(
        images=[dict(id=0, height=SIZE, width=SIZE)],
        categories=[dict(id=n, name=c) for n, c in enumerate(CLASSES, 1)],
        annotations=annotations,
    )
    file.write_text(json.dumps(truth))
    return dict(
        bboxes=torch.tensor(boxes, dtype=torch.float32),
        scores=torch.linspace(1, 0.5, count),
        labels=torch.zeros(count, dtype=torch.long),
    )


def test_150_perfect_boxes_have_an_ap_of_1_at_300_detections(tmp_path):
    file = tmp_path / 'truth.json'
    found = grid_of_objects(file, 150)
    # Recalls up to 100 of 150: 67 of COCO's 101 points have a precision of 1
    figures = evaluate(file, [found], metric='bbox', classwise=True)
    assert figures['coco/bbox_mAP'] == round(67 / 101, 3) == 0.663
    assert figures['coco/bbox_a_precision'] == 0.663
    assert figures['coco/bbox_AR_100'] == round(100 / 150, 3)
    more = dict(proposal_nums=(300, 10), classwise=True)
    assert evaluate(file, [found], metric='bbox', **more) == {
        'coco/bbox_mAP': 1.0,
        'coco/bbox_mAP_50': 1.0,
        'coco/bbox_mAP_75': 1.0,
        'coco/bbox_mAP_s': 1.0,
        'coco/bbox_mAP_m': -1.0,
        'coco/bbox_mAP_l': -1.0,
        'coco/bbox_AR_10': round(10 / 150, 3),
        'coco/bbox_AR_300': 1.0,
        'coco/bbox_AR_s': 1.0,
        'coco/bbox_AR_m': -1.0,
        'coco/bbox_AR_l': -1.0,
        'coco/bbox_a_precision': 1.0,
        'coco/bbox_b_precision': -1.0,
        'coco/bbox_c_precision': -1.0,
    }


@pytest.mark.parametrize('limits', [100, (), (1, 0), (10.5, 100), '100'])
def test_wrong_limits_are_refused(limits):
    metric = dict(type='CocoAPARMetric', metric='bbox', proposal_nums=limits)
    with pytest.raises(ValueError, match='CocoAPARMetric: proposal_nums='):
        METRICS.build(metric)


def test_figures_of_a_class_have_its_name_whatever_the_ids(scene, tmp_path):
    file, detections = scene
    data = json.loads(file.read_text())
    for key, part in ('id', 'categories'), ('category_id', 'annotations'):
        for one in data[part]:
            one[key] = 10 - one[key]
    turned = tmp_path / 'turned.json'
    turned.write_text(json.dumps(data))
    options = dict(metric='bbox', classwise=True)
    figures = evaluate(file, detections, **options)
    assert evaluate(turned, detections, **options) == figures
    assert len({figures[f'coco/bbox_{c}_precision'] for c in CLASSES}) == 3


def test_masks_that_no_model_predicts_are_not_evaluated(tmp_path):
    file = tmp_path / 'truth.json'
    found = grid_of_objects(file, 2)
    with pytest.raises(ValueError, match="'segm', but the model predicts no"):
        evaluate(file, [found], metric=['bbox', 'segm'])


def test_one_iou_threshold_has_no_figures_of_others(scene):
    figures = evaluate(*scene, metric='bbox', iou_thrs=[0.5])
    assert figures['coco/bbox_mAP'] == figures['coco/bbox_mAP_50'] > 0
    assert 'coco/bbox_mAP_75' not in figures
