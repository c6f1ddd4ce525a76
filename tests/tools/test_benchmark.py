"""The benchmark: what it counts, not how long it takes."""

import json
import subprocess
import sys
from unittest.mock import patch

import numpy as np
import pytest
import torch
from mmengine.hub import get_config
from speed import clock, memory, parts, stages, subjects, training
from speed.candidates import choose_threshold, recorded_scores
from speed.report import chart, page
from support.helpers import CONFIGS, ROOT, SHAPES_CONFIG, build_model

SIZE = (96, 192)


def quiet(text):
    pass


@pytest.fixture(scope='module')
def subject():
    return subjects.Subject('ours', build_model().eval(), torch.device('cpu'))


@pytest.fixture(scope='module')
def image():
    return subjects.picture(60, 100)


def test_nested_stages_are_counted_once():
    timer = stages.StageTimer(torch.device('cpu'))
    ticks = iter([0, 1, 3, 7])

    def run():
        with timer.stage('outer'):  # from 0 to 7
            timer.timed(lambda: None, 'inner')()  # from 1 to 3

    with patch('time.perf_counter', lambda: next(ticks)):
        run()
    assert timer.seconds == {'outer': 1 + 4, 'inner': 2}


def test_stages_cover_what_a_detector_does(subject, image):
    subjects.prepare(subject, image, SIZE)
    with stages.timed_stages(subject.model, subject.device) as timer:
        found = clock.seconds(
            lambda: subject.predict(subjects.test_batch(image, SIZE)),
            subject.device,
        )
    assert set(timer.seconds) == {
        stages.PREPROCESSING,
        stages.FEATURES,
        stages.HEADS,
        stages.SELECTION,
        stages.MASKS,
        stages.PASTING,
    }
    assert 0.5 * found < sum(timer.seconds.values()) <= found
    # Nothing is left of the timer.
    assert 'forward' not in vars(subject.model.bbox_head)


@pytest.mark.parametrize(
    'config',
    [SHAPES_CONFIG, CONFIGS / 'mask_rcnn/mask-rcnn_r18_fpn_shapes.py'],
)
def test_as_many_candidates_as_asked_for(config, image):
    model = build_model(config).eval()
    one = subjects.Subject('one', model, torch.device('cpu'))
    inputs = subjects.test_batch(image, SIZE)
    choose_threshold(model, lambda: one.predict(inputs), 321)
    (threshold,) = {s['score_thr'] for s in subjects.test_settings(model)}
    with recorded_scores() as seen:
        one.predict(inputs)
    assert (torch.cat(seen) > threshold).sum() == 321


def test_scores_that_are_not_seen():
    with pytest.raises(ValueError, match='Identity selects its candidates'):
        choose_threshold(torch.nn.Identity(), lambda: None, 10)


def test_too_few_instances_are_not_measured(subject, image):
    with (
        patch.object(subjects, 'CANDIDATES', 20),
        pytest.raises(ValueError, match='ours returns .* instances, not 100'),
    ):
        subjects.prepare(subject, image, SIZE)


@pytest.mark.parametrize('path', subjects.DEFAULT.values())
def test_nothing_is_downloaded_for_the_default_models(path):
    config = get_config(path) if '::' in path else subjects.read_config(path)
    assert 'init_cfg' in str(config.model)
    subjects.without_weights(config.model)
    assert 'Pretrained' not in str(config.model)


def test_turns():
    order = []
    values = iter(range(100))

    def run(name):
        order.append(name)
        return next(values)

    runs = {name: lambda name=name: run(name) for name in 'abc'}
    found = clock.in_turns(runs, 4, quiet, warm_up=1)
    rounds = [''.join(order[i : i + 3]) for i in range(0, 15, 3)]
    assert all(sorted(names) == ['a', 'b', 'c'] for names in rounds)
    assert len(set(rounds)) > 1  # not always the same before the same
    for name in 'abc':
        expected = [i for i, n in enumerate(order) if n == name][1:]
        assert found[name] == expected


def take(mib):
    peak = memory.Peak(torch.device('cpu'))
    torch.ones(mib, memory.MIB // 4)
    torch.ones(1)
    return peak.mib()


def test_a_peak_is_what_was_in_use_at_most():
    peak = memory.in_child(take, 300)
    assert 300 <= peak < 400


def test_random_annotations():
    boxes = training.random_boxes(500, 800, 1216, seed=0)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [1216, 800]).all()
    sides = boxes[:, 2:] - boxes[:, :2]
    assert sides.min() >= 16 and (sides.max(0) <= [608, 400]).all()
    batch = training.training_batch((64, 96), 2)
    gt = batch['data_samples'][1].gt_instances
    assert len(gt.masks) == training.OBJECTS
    for mask, box in zip(gt.masks.masks, gt.bboxes.numpy()):
        rows, columns = np.nonzero(mask)
        assert abs(columns.min() - box[0]) < 2
        assert abs(rows.max() - box[3]) < 2


def test_what_is_measured_and_said_of_it(image, tmp_path):
    bench = parts.Parts(
        {'RetinaNet': str(SHAPES_CONFIG), 'SPRNet-GFPN': str(SHAPES_CONFIG)},
        ['RetinaNet', 'SPRNet-GFPN'],
        torch.device('cpu'),
        SIZE,
        2,
        quiet,
    )
    results = dict(run=dict(command='python ...'))
    results.update(bench.latency())
    results.update(bench.batches())
    results.update(bench.training())
    results.update(bench.complexity())
    results = json.loads(json.dumps(results))  # as they are written
    results['latency'] = {
        'RetinaNet': [1.0, 2.0, 4.0],
        'SPRNet-GFPN': [1.1, 2.0, 4.8],
    }
    text = page(results)
    ours = '| SPRNet-GFPN | 2,000 | 1,100-4,800 | 1.100 | 1.000 | 0.50 |'
    assert ours in text
    for name in ('RetinaNet', 'SPRNet-GFPN'):
        assert sum(results['stages'][name].values()) > 0
        step = results['training'][name]
        assert step['step'][0] == step['forward'][0] + step['backward'][0]
    chart(results, tmp_path / 'stages.png')
    assert (tmp_path / 'stages.png').stat().st_size > 1000


def test_the_pixels_multiply_adds_are_counted():
    """100 pixels of the paper's head: 640 values, 4 to 1024 cells of 256."""
    model = build_model(
        CONFIGS / 'sprnet_r50_fpn_1x_coco.py',
        **{'backbone.depth': 18, 'neck.in_channels': [64, 128, 256, 512]},
    ).eval()
    one = subjects.Subject('one', model, torch.device('cpu'))
    from speed.complexity import complexity

    image = subjects.picture(128, 128)
    with_masks = complexity(one, image, (128, 128))['gmacs']
    head = model.mask_head.forward
    model.mask_head.forward = lambda *args: torch.zeros(1)
    without = complexity(one, image, (128, 128))['gmacs']
    model.mask_head.forward = head
    encoder = 256 * 256 + 3 * 9 * 256 * 128
    cells = 640 * 1024 + (4 + 16 + 64 + 256) * 256 * 1024
    classifier = (1024 + 64) * 256
    expected = 100 * (encoder + cells + classifier) / 1e9
    assert with_masks - without == pytest.approx(expected, rel=0.01)


def test_a_config_that_is_not_there():
    ended = subprocess.run(
        [
            sys.executable,
            ROOT / 'tools' / 'benchmark.py',
            '--models',
            'nowhere.py',
            '--parts',
            'complexity',
        ],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert 'nowhere.py' in ended.stderr.splitlines()[-1]
    assert 'Traceback' not in ended.stderr


@pytest.mark.parametrize('run', ['whole', 'main'])
def test_the_kept_pages_are_those_of_the_kept_results(run):
    kept = ROOT / 'tools' / 'speed' / 'results' / run
    results = json.loads((kept / 'results.json').read_text())
    assert (kept / 'README.md').read_text() == page(results)
