"""The metric, compared with pycocotools called directly."""

import json
from unittest import mock

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from mmengine.config import Config
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.helpers import CONFIGS

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


def evaluate(file, detections, **options):
    metric = METRICS.build(
        dict(type='CocoAPARMetric', ann_file=str(file), **options)
    )
    metric.dataset_meta = dict(classes=CLASSES)
    for image, found in enumerate(detections):
        sample = dict(
            img_id=image, ori_shape=(SIZE, SIZE), pred_instances=found
        )
        metric.process({}, [sample])
    return metric.evaluate(len(detections))


def evaluate_directly(file, detections, kind):
    """COCOeval's twelve figures of the detections."""
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
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(NAMES, evaluation.stats))


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
        for name, value in evaluate_directly(file, detections, kind).items()
    }
    # Equal keys: none of mmdet's AR@100 to AR_l@1000 is left
    assert figures == pytest.approx(expected, abs=1e-9)
    recalls = [figures[f'coco/{kinds[0]}_{name}'] for name in NAMES[6:9]]
    assert recalls == sorted(set(recalls)), 'the scene must tell them apart'


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


def test_no_detection_at_all(scene):
    none = detect(np.random.default_rng(0), [], 0, 0)
    assert evaluate(scene[0], [none] * 4, metric=['bbox', 'segm']) == {}


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
    with mock.patch.object(
        CocoMetric,
        'results2json',
        autospec=True,
        side_effect=CocoMetric.results2json,
    ) as write_files:
        partly = evaluate(file, detections, metric=['bbox', 'segm'])
    write_files.assert_called_once()
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
