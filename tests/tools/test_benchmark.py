"""tools/benchmark.py: what it counts, not how long that takes."""

import json
from functools import partial
from types import SimpleNamespace
from unittest.mock import patch

import benchmark
import numpy as np
import pytest
import torch
from speed import (
    clock,
    memory,
    modern_report,
    parts,
    rtmdet,
    stages,
    subjects,
    throughput,
    training,
    wrapper,
)
from speed.candidates import choose_threshold, recorded_scores, spread_scores
from speed.complexity import complexity
from speed.report import chart, page
from support.helpers import CONFIGS, ROOT, SHAPES_CONFIG, build_model

CPU = torch.device('cpu')
SIZE = (96, 192)


def quiet(text):
    pass


def small_subject(config, **options):
    return subjects.Subject('x', build_model(config, **options).eval(), CPU)


@pytest.fixture(scope='module')
def subject():
    return small_subject(SHAPES_CONFIG)


@pytest.fixture(scope='module')
def image():
    return subjects.picture(60, 100)


def test_nested_stages_are_counted_once():
    timer = stages.StageTimer(CPU)
    ticks = iter([0, 1, 3, 7])

    def run():
        with timer.stage('outer'):  # from 0 to 7
            timer.stage('inner')(lambda: None)()  # from 1 to 3

    with patch('time.perf_counter', lambda: next(ticks)):
        run()
    assert timer.seconds == {'outer': 1 + 4, 'inner': 2}


def test_stages_cover_what_a_detector_does(subject, image):
    subjects.prepare(subject, image, SIZE)
    with stages.timed_stages(subject.model, subject.device) as timer:
        total = clock.seconds(
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
    assert 0.5 * total < sum(timer.seconds.values()) <= total
    # The timer leaves no wrapper behind.
    assert 'forward' not in vars(subject.model.bbox_head)


@pytest.mark.parametrize(
    'config',
    [SHAPES_CONFIG, CONFIGS / 'mask_rcnn/mask-rcnn_r18_fpn_shapes.py'],
)
def test_the_threshold_leaves_the_requested_number_of_candidates(
    config, image
):
    small = small_subject(config)
    inputs = subjects.test_batch(image, SIZE)
    choose_threshold(small.model, lambda: small.predict(inputs), 321)
    settings = subjects.test_settings(small.model)
    (threshold,) = {s['score_thr'] for s in settings}
    with recorded_scores() as recorded:
        small.predict(inputs)
    assert (torch.cat(recorded) > threshold).sum() == 321


def test_a_model_whose_scores_cannot_be_recorded_is_refused():
    with pytest.raises(ValueError, match='Identity selects its candidates'):
        choose_threshold(torch.nn.Identity(), lambda: None, 10)


def test_a_model_with_too_few_instances_is_refused(subject, image):
    with (
        patch.object(subjects, 'CANDIDATES', 20),
        pytest.raises(ValueError, match='x returns .* must return 100'),
    ):
        subjects.prepare(subject, image, SIZE)


@pytest.mark.parametrize('path', subjects.DEFAULT.values())
def test_nothing_is_downloaded_for_the_default_models(path):
    config = subjects.read_config(path)
    assert 'init_cfg' in str(config.model)
    subjects.remove_pretrained(config.model)
    assert 'Pretrained' not in str(config.model)


def test_turns_are_in_random_order_and_warm_up_is_dropped():
    order = []
    values = iter(range(100))

    def run(name):
        order.append(name)
        return next(values)

    runs = {name: lambda name=name: run(name) for name in 'abc'}
    values_by_name = clock.in_turns(runs, 4, quiet, warm_up=1)
    rounds = [''.join(order[i : i + 3]) for i in range(0, 15, 3)]
    assert all(sorted(names) == ['a', 'b', 'c'] for names in rounds)
    assert len(set(rounds)) > 1
    for name in 'abc':
        expected = [i for i, n in enumerate(order) if n == name][1:]
        assert values_by_name[name] == expected


def peak_of(mib):
    peak = memory.Peak(CPU)
    torch.ones(mib, memory.MIB // 4)
    torch.ones(1)
    return peak.mib()


def test_peak_memory_counts_what_was_freed_since():
    assert 300 <= memory.in_child(peak_of, 300) < 400


def test_random_boxes_and_masks_lie_in_the_image():
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


def test_parts_and_their_page(image, tmp_path):
    bench = parts.Parts(
        {'RetinaNet': str(SHAPES_CONFIG), 'SPRNet-GFPN': str(SHAPES_CONFIG)},
        ['RetinaNet', 'SPRNet-GFPN'],
        CPU,
        SIZE,
        2,
        quiet,
    )
    results = dict(run=dict(command='python ...'))
    for part in (
        bench.latency,
        bench.batches,
        bench.training,
        bench.complexity,
    ):
        results.update(part())
    results = json.loads(json.dumps(results))  # as the command writes them
    results['latency'] = {
        'RetinaNet': [1.0, 2.0, 4.0],
        'SPRNet-GFPN': [1.1, 2.0, 4.8],
    }
    row = '| SPRNet-GFPN | 2,000 | 1,100-4,800 | 1.100 | 1.000 | 0.50 |'
    assert row in page(results)
    for name in ('RetinaNet', 'SPRNet-GFPN'):
        assert sum(results['stages'][name].values()) > 0
        step = results['training'][name]
        assert step['step'][0] == step['forward'][0] + step['backward'][0]
    chart(results, tmp_path / 'stages.png')
    assert (tmp_path / 'stages.png').stat().st_size > 1000


def setting(image, rounds=3):
    return throughput.Setting(CPU, image, SIZE, rounds, quiet)


def test_throughput_of_each_batch_and_mode_whatever_fails(image):
    """In bfloat16, stock RetinaNet's NMS fails on a CPU."""
    configs = {
        'RetinaNet': CONFIGS / 'object_detection/retinanet_r18_fpn_shapes.py',
        'SPRNet-GFPN': SHAPES_CONFIG,
    }
    configs = {n: subjects.read_config(str(c)) for n, c in configs.items()}
    with patch.object(throughput, 'BATCHES', (1, 2)):
        *_, results = throughput.throughput(configs, setting(image))
    modes = results['throughput']
    for mode, name in (
        ('float32', 'RetinaNet'),
        ('float32', 'SPRNet-GFPN'),
        ('--amp', 'SPRNet-GFPN'),
    ):
        for batch in ('1', '2'):
            entry = modes[mode][name][batch]
            assert len(entry['seconds']) == 3 and entry['mib'] is None
    assert set(modes['--amp']['RetinaNet']) == {'error'}
    text = page(dict(results, run={}))
    assert '- RetinaNet, --amp: RuntimeError' in text
    assert 'images/s' in text and 'peak MiB' not in text


def test_more_memory_than_there_is_stops_one_batch_only(image):
    config = subjects.read_config(str(SHAPES_CONFIG))
    predict = subjects.Subject.predict

    def limited(subject, inputs):
        if len(inputs['inputs']) > 1:
            raise torch.OutOfMemoryError('CUDA out of memory.\nDetails')
        return predict(subject, inputs)

    with patch.object(subjects.Subject, 'predict', limited):
        *_, results = throughput.throughput({'x': config}, setting(image))
    entry = results['throughput']['float32']['x']
    assert entry['error'].endswith(
        'batch 8: OutOfMemoryError: CUDA out of memory.'
    )
    assert len(entry['1']['seconds']) == 3


def test_scores_are_spread_as_trained_ones(image):
    small = small_subject(SHAPES_CONFIG)
    inputs = subjects.test_batch(image, SIZE)
    spread_scores(small.model, lambda: small.predict(inputs))
    logits = []
    small.model.bbox_head.retina_cls.register_forward_hook(
        lambda *a: logits.append(a[2].flatten())
    )
    small.predict(inputs)
    assert torch.cat(logits).std() == pytest.approx(1.5, rel=0.01)


def test_compiling_is_timed_apart(image):
    def fake(function):
        return torch.compiler.disable(function)

    with patch.object(torch, 'compile', fake):
        *_, results = throughput.compiled(str(SHAPES_CONFIG), setting(image))
    entry = results['compiled']['float32']
    assert len(entry['eager']) == len(entry['compiled']) == 3
    assert entry['first'] > 0
    assert '| float32 |' in page(dict(results, run={}))


def test_a_gpu_gets_warm_up_and_more_rounds(monkeypatch):
    gpu = torch.device('cuda', 0)
    bench = parts.Parts({}, [], gpu, SIZE, 20, quiet)
    calls = []
    runs = {'x': lambda: calls.append(1)}
    bench._turns(runs, bench._few())
    assert len(calls) == 1 + 20
    assert benchmark.default_rounds(False, gpu) == 20
    started = []
    monkeypatch.setattr(torch.cuda, 'init', lambda: started.append(1))
    for name in ('memory_allocated', 'reset_peak_memory_stats'):
        # torch refuses to reset the statistics before it has started CUDA
        monkeypatch.setattr(torch.cuda, name, lambda *_: 2**20 / len(started))
    assert memory.Peak(gpu).before == 1


def test_multiply_adds_include_those_of_100_masks():
    """100 pixels of the paper's head: 640 values, 4 to 1024 cells of 256."""
    small = small_subject(
        CONFIGS / 'sprnet_r50_fpn_1x_coco.py',
        **{'backbone.depth': 18, 'neck.in_channels': [64, 128, 256, 512]},
    )
    image = subjects.picture(128, 128)
    with_masks = complexity(small, image, (128, 128))['gmacs']
    small.model.mask_head.forward = lambda *args: torch.zeros(1)
    without = complexity(small, image, (128, 128))['gmacs']
    encoder = 256 * 256 + 3 * 9 * 256 * 128
    cells = 640 * 1024 + (4 + 16 + 64 + 256) * 256 * 1024
    classifier = (1024 + 64) * 256
    expected = 100 * (encoder + cells + classifier) / 1e9
    assert with_masks - without == pytest.approx(expected, rel=0.01)


def test_a_missing_config_is_named(tmp_path, monkeypatch):
    argv = ['benchmark.py', '--models', 'nowhere.py', '--out-dir', 'out']
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.argv', argv)
    with pytest.raises(SystemExit, match='benchmark.py: .*nowhere.py'):
        benchmark.main()


@pytest.mark.parametrize('run', ['whole', 'main'])
def test_the_kept_pages_match_the_kept_results(run):
    kept = ROOT / 'tools' / 'speed' / 'results' / run
    results = json.loads((kept / 'results.json').read_text())
    assert (kept / 'README.md').read_text() == page(results)


def shrunk(read, config):
    """A config's model with few channels and of 6 classes."""
    config = read(config)
    config.model.backbone.widen_factor = 0.125
    config.model.neck.update(in_channels=[32, 64, 128], out_channels=32)
    config.model.bbox_head.update(in_channels=32, feat_channels=32)
    if 'mask_head' in config.model:
        config.model.mask_head.decoder.channels = 8
        encoder = config.model.mask_head.encoder
        if 'fine_channels' in encoder:
            encoder.fine_channels = 16
    return config


def test_rtmdet_by_detections_and_objects(monkeypatch):
    read = subjects.read_config
    monkeypatch.setattr(rtmdet, 'read_config', partial(shrunk, read))
    monkeypatch.setattr(rtmdet, 'DETECTIONS', (3, 120))
    monkeypatch.setattr(rtmdet, 'OBJECTS', (2, 40))
    monkeypatch.setattr(modern_report, 'DETECTIONS', (3, 120))
    monkeypatch.setattr(modern_report, 'OBJECTS', (2, 40))
    asked = []

    def in_child(measure, *args):
        asked.append(args[3])
        if len(asked) == 2:
            raise MemoryError
        return measure(*args)

    monkeypatch.setattr(rtmdet, 'in_child', in_child)
    *_, results = rtmdet.rtmdet(96, CPU, 1, quiet)
    entry = results['rtmdet']
    assert (
        set(entry['detections'])
        == set(entry['objects'])
        == {
            'RTMDet-Ins-s',
            'SPR-RTMDet-s',
            'SPR-RTMDet-s-box',
        }
    )
    assert asked == 3 * [2, 40]
    first = entry['objects']['RTMDet-Ins-s']
    assert first[0]['seconds'] > 0 and first[1] is None
    text = page(dict(results, run={}))
    assert '| out of memory |' in text
    assert 'SPR-RTMDet-s, time (RTMDet-Ins-s = 1) |' in text


def test_too_few_detections_are_refused(subject):
    with pytest.raises(ValueError, match='x returns .* of 99999'):
        rtmdet.detections_seconds(subject, 96, 99999)


def test_what_masks_add_is_the_difference_within_rounds(image, monkeypatch):
    stock = CONFIGS / 'object_detection/retinanet_r18_fpn_shapes.py'
    pair = wrapper.Pair(str(stock), str(SHAPES_CONFIG), 18)
    monkeypatch.setattr(wrapper, 'PAIRS', {'R18': pair})
    monkeypatch.setattr(wrapper, 'in_child', lambda *args: len(args[2].model))
    # Times of a busy machine tell nothing.
    monkeypatch.setattr(wrapper, 'image_seconds', lambda *_: 1.0)
    stages = {wrapper.MASKS: 0.25, wrapper.PASTING: 0.125, 'box_head': 0.5}
    monkeypatch.setattr(wrapper, 'stage_seconds', lambda *_: stages)
    both = wrapper.configs(pair)
    assert both['sprnet'].model.backbone.depth == 18
    assert both['sprnet'].model.neck == both['stock'].model.neck
    results = wrapper.wrapper(CPU, image, SIZE, 1, quiet)
    entry = results['wrapper']['R18']
    assert entry['masks'] == [0.375]
    assert entry['seconds'] == dict(stock=[1.0], sprnet=[1.0])
    entry['seconds'] = dict(stock=[1.0, 2.0, 3.0], sprnet=[1.5, 2.1, 3.2])
    entry['mib'] = dict(stock=100.0, sprnet=111.0)
    entry['masks'] = [0.3, 0.12, 0.1]
    row = '| R18 | 2,000 | 2,100 | 200 | 120 | 100 | 111 | 11 |'
    assert row in page(dict(results, run={}))


def test_sparseinst_returns_all_its_candidates(image):
    class Queries(torch.nn.Module):
        cls_threshold = 0.5

        def test_step(self, inputs):
            scores = torch.linspace(0.01, 0.9, subjects.INSTANCES)
            kept = scores[scores > self.cls_threshold]
            return [SimpleNamespace(pred_instances=kept)]

    model = subjects.Subject('SparseInst', Queries(), CPU)
    subjects.prepare(model, image, SIZE)
    assert model.model.cls_threshold == 0
