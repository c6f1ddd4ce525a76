"""How objects fit a config: sizes, overlaps, and what is said of them."""

from common.anchor_fit import (
    Objects,
    best_overlaps,
    fitted,
    objects_of,
    resized,
    with_base,
)

import check_dataset
import numpy as np
import pytest
import torch
from dataset_check.fit import Fit, Rule, draw_fit, fit_lines, fit_of, rules_of
from dataset_check.split import Record
from mmcv.transforms import Resize
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import bbox_overlaps
from support.helpers import CONFIGS, SHAPES_CONFIG, read_config
from support.in_process import is_picture, run_command

GENERATOR = read_config(SHAPES_CONFIG).model.bbox_head.anchor_generator
RPN = dict(
    type='AnchorGenerator',
    scales=[4],
    ratios=[0.5, 1.0, 2.0],
    strides=[4, 8, 16, 32, 64],
)


def objects(number=60, width=200, height=120):
    rng = np.random.default_rng(0)
    sides = rng.uniform(4, 90, (number, 2))
    low = rng.uniform(0, [width - 95, height - 95], (number, 2))
    boxes = np.concatenate([low, low + sides], axis=1)
    boxes[0] = [0, 0, width, height]
    boxes[1] = [width - 5, height - 5, width, height]
    return Objects(boxes, np.tile([float(width), height], (number, 1)))


@pytest.mark.parametrize('generator', [GENERATOR, RPN])
def test_overlaps_are_those_of_all_anchors(generator):
    some = objects()
    built = TASK_UTILS.build(generator)
    width, height = some.images[0]
    sizes = [
        (int(np.ceil(height / s)), int(np.ceil(width / s)))
        for s, _ in built.strides
    ]
    anchors = torch.cat(built.grid_priors(sizes, device='cpu'))
    boxes = torch.tensor(some.boxes, dtype=torch.float32)
    expected = bbox_overlaps(boxes, anchors).amax(dim=1)
    found = best_overlaps(some, generator)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_objects_are_scaled_as_the_pipeline_scales_them():
    some = objects()
    step = dict(type='Resize', scale=(96, 96), keep_ratio=True)
    results = dict(
        img=np.zeros((120, 200, 3), np.uint8),
        gt_bboxes=some.boxes.astype(np.float32),
        img_shape=(120, 200),
    )
    expected = Resize(scale=(96, 96), keep_ratio=True, clip_object_border=0)(
        results
    )
    seen = resized(some, [dict(type='LoadImageFromFile'), step])
    np.testing.assert_allclose(seen.boxes, expected['gt_bboxes'], atol=1e-3)
    assert tuple(seen.images[0]) == expected['img'].shape[1::-1]
    np.testing.assert_allclose(fitted(some, 96).boxes, seen.boxes, rtol=0.02)
    assert resized(some, []).boxes == pytest.approx(some.boxes)


def test_crowds_and_empty_boxes_are_no_objects():
    images = [dict(id='a', width=9, height=5)]
    annotations = [
        dict(image_id='a', bbox=[1, 1, 2, 3]),
        dict(image_id='a', bbox=[1, 1, 2, 3], iscrowd=1),
        dict(image_id='a', bbox=[1, 1, 0, 3]),
    ]
    some = objects_of(images, annotations)
    assert some.boxes.tolist() == [[1, 1, 3, 4]]
    assert some.images.tolist() == [[9, 5]]
    assert some.sides == pytest.approx(6**0.5)


def test_rules_of_configs():
    def rules(name, **options):
        config = read_config(CONFIGS / name)
        config.merge_from_dict(options)
        return rules_of(config.model)

    box, mask = rules('sprnet_r18_gfpn_shapes.py')
    assert (box.iou, mask.iou) == (0.5, 0.7)
    assert mask.effect == 'they train no mask'
    sampler = dict(type='EveryObjectLocationSampler', threshold=0.6)
    _, mask = rules(
        'sprnet_r18_gfpn_shapes.py', **{'model.mask_head.sampler': sampler}
    )
    assert mask == Rule(0.6, 'one location each trains their masks')
    assert rules('plus/sprnet_r18_gfpn_plus-box_shapes.py') == [box]
    (rpn,) = rules('mask_rcnn/mask-rcnn_r18_fpn_shapes.py')
    assert rpn.iou == 0.7


def small_and_fitting(generator=GENERATOR):
    """Nine objects of 32 pixels that anchors match, one of 8."""
    boxes = [[x - 16.0, 48, x + 16, 80] for x in range(64, 136, 8)]
    boxes.append([60.0, 60, 68, 68])
    some = Objects(np.array(boxes), np.tile([256.0, 256], (10, 1)))
    return Fit(some, generator, [Rule(0.5, 'X'), Rule(0.7, 'Y')])


def test_lines_count_objects_without_anchors():
    first, box, mask = fit_lines(small_and_fitting())
    assert '32 pixels (median); 10% are below 30, 10% above 32' in first
    assert box.endswith(
        '1 of 10 objects (10%) have no anchor with an IoU above 0.5: X'
    )
    assert mask.endswith('above 0.7: Y')
    assert len(fit_lines(small_and_fitting(None))) == 1


def test_lines_advise_what_helps():
    fit = small_and_fitting(with_base(GENERATOR, 16))
    lines = fit_lines(fit)
    rows = {line[5:].split('  ')[0]: line for line in lines[4:]}
    assert set(rows) == {
        'as it is',
        *(f'octave_base_scale={base}' for base in (4, 3, 2)),
        'strides=[4, 8, 16, 32, 64] and neck.start_level one lower',
        'scale of Resize x 1.5',
        'scale of Resize x 2',
    }
    assert rows['as it is'].split()[-2:] == ['100%', '100%']
    assert rows['octave_base_scale=4'].split()[-2:] == ['10%', '10%']


def test_a_two_stage_detector_is_advised_scales():
    fit = small_and_fitting(dict(RPN, scales=[16]))
    text = '\n'.join(fit_lines(fit))
    assert 'scales=4' in text and 'strides=' not in text


def test_picture(tmp_path):
    draw_fit(small_and_fitting(), tmp_path / 'a' / 'fit.png')
    assert is_picture(tmp_path / 'a' / 'fit.png')


def test_fit_of_records():
    record = Record(
        dict(id=1, width=100, height=50),
        [dict(image_id=1, bbox=[10, 10, 20, 20])],
    )
    model = read_config(SHAPES_CONFIG).model
    step = dict(type='Resize', scale=(200, 200), keep_ratio=True)
    fit = fit_of([record], [step], model)
    assert fit.objects.boxes.tolist() == [[20, 20, 60, 60]]
    assert fit.generator == GENERATOR and len(fit.rules) == 2


def test_a_mask_head_may_have_anchors_of_its_own():
    name = 'other_heads/sprnet_atss_r50_fpn_1x_coco.py'
    model = read_config(CONFIGS / name).model
    fit = fit_of([], [], model)
    assert fit.generator == model.mask_head.anchor_generator
    assert [rule.iou for rule in fit.rules] == [0.7]
    assert fit_lines(fit) == []


def test_check_dataset_says_it(shapes, tmp_path, capsys):
    picture = tmp_path / 'fit.png'
    option = f'data_root={shapes}'
    run_command(
        *(check_dataset, SHAPES_CONFIG, '--processes', 1),
        *('--picture', picture, '--cfg-options', option),
    )
    printed = capsys.readouterr().out
    assert 'fit: as the network sees them' in printed
    assert (
        f'next: python tools/train.py {SHAPES_CONFIG} --cfg-options {option}'
        in printed
    )
    assert is_picture(picture)
