"""MMDetection's own tools on our configs, see tools/mmdet_tools.md."""

import json
import multiprocessing.dummy
import re
import shutil
import sys
import time
import types

import cv2
import mmdet_tool
import mmengine
import pytest
import torch
from common.mmdet_scripts import SCRIPTS, run_script
from mmdet.models import DetTTAModel
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_flip
from mmengine.logging import HistoryBuffer
from mmengine.structures import InstanceData
from shapes_data.scenes import CLASSES
from support.helpers import ROOT, SHAPES_CONFIG, build_model

from projects.sprnet.runtime.tta import MaskTTAModel

PAGE = (ROOT / 'tools' / 'mmdet_tools.md').read_text()
NARROW = {
    'backbone.base_channels': 8,
    'neck.in_channels': [8, 16, 32, 64],
}
SMALL = [
    'model.backbone.base_channels=8',
    'model.neck.in_channels=[8,16,32,64]',
    'model.test_cfg.score_thr=0.0',
    'model.test_cfg.max_per_img=5',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
    'test_evaluator.outfile_prefix=results',
]


@pytest.fixture(scope='module')
def place(shapes, tmp_path_factory):
    """A folder with a checkpoint, as training writes it, and what test.py
    makes of it."""
    place = tmp_path_factory.mktemp('tools')
    history = HistoryBuffer([1.0], [1])
    torch.save(
        dict(
            state_dict=build_model(**NARROW).state_dict(),
            meta=dict(dataset_meta=dict(classes=CLASSES)),
            message_hub=dict(log_scalars={'train/loss': history}),
            optimizer={},
        ),
        place / 'epoch_1.pth',
    )
    arguments = [SHAPES_CONFIG, 'epoch_1.pth', '--out', 'out.pkl']
    call(place, shapes, 'test.py', *arguments, '--work-dir', 'test')
    return place


def call(place, shapes, script, *arguments, options=()):
    """Run a script of mmdet's in a folder, with a small config if it takes
    one."""
    argv = [script, *map(str, arguments)]
    if SHAPES_CONFIG in arguments:
        argv += ['--cfg-options', f'data_root={shapes}', *SMALL, *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(sys, 'argv', argv)
        patch.setattr(sys, 'path', list(sys.path))
        # Threads: two of the tools start dozens of processes.
        patch.setattr(multiprocessing, 'Pool', multiprocessing.dummy.Pool)
        run_script(script)


def test_the_page_names_tools_that_exist():
    named = re.findall(r'^\| `([\w/]+\.py)', PAGE, re.MULTILINE)
    assert len(named) > 15
    for name in named:
        assert (SCRIPTS / name).is_file(), name


def test_a_script_that_mmdet_does_not_have(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mmdet_tool.py', 'misc/no.py', '--help'])
    with pytest.raises(SystemExit):
        mmdet_tool.parse_args()
    assert 'error: mmdet has no misc/no.py in' in capsys.readouterr().err


def test_get_flops(place, shapes, capsys):
    script = 'analysis_tools/get_flops.py'
    call(place, shapes, script, SHAPES_CONFIG, '--num-images', 1)
    said = capsys.readouterr().out
    count = sum(p.numel() for p in build_model(**NARROW).parameters())
    params = float(re.search(r'Params: ([\d.]+)M', said)[1])
    assert params == pytest.approx(count / 1e6, abs=0.01)
    assert float(re.search(r'Flops: ([\d.]+)G', said)[1]) > 0.1


def test_print_config(place, shapes, capsys):
    call(place, shapes, 'misc/print_config.py', SHAPES_CONFIG)
    said = capsys.readouterr().out
    assert "type='SPRNet'" in said and f"data_root='{shapes}/'" in said


def test_publish_model(place, shapes):
    script = 'model_converters/publish_model.py'
    call(place, shapes, script, 'epoch_1.pth', 'published.pth')
    for _ in range(100):  # it is moved by a process that nothing waits for
        found = list(place.glob('published-*.pth'))
        if found and not (place / 'published.pth').exists():
            break
        time.sleep(0.05)
    published = torch.load(found[0])
    assert published.keys() == {'state_dict', 'meta'}
    build_model(**NARROW).load_state_dict(published['state_dict'])


def test_analyze_results(place, shapes):
    script = 'analysis_tools/analyze_results.py'
    arguments = ['out.pkl', 'analyzed', '--topk', 1]
    call(place, shapes, script, SHAPES_CONFIG, *arguments)
    for folder in ('good', 'bad'):
        (picture,) = (place / 'analyzed' / folder).glob('*.jpg')
        assert cv2.imread(str(picture)) is not None


def test_confusion_matrix(place, shapes):
    script = 'analysis_tools/confusion_matrix.py'
    call(place, shapes, script, SHAPES_CONFIG, 'out.pkl', 'confusion')
    assert cv2.imread(str(place / 'confusion' / 'confusion_matrix.png')).std()


def test_eval_metric_repeats_the_test(place, shapes, capsys):
    script = 'analysis_tools/eval_metric.py'
    call(place, shapes, script, SHAPES_CONFIG, 'out.pkl')
    figures = eval(capsys.readouterr().out.splitlines()[-1])
    (tested,) = (place / 'test').glob('*/*.json')
    tested = json.loads(tested.read_text())
    assert len(figures) == 24
    assert figures == {key: tested[key] for key in figures}


def test_coco_error_analysis(place, shapes):
    ann_file = shapes / 'annotations' / 'instances_val2017.json'
    call(
        place,
        shapes,
        'analysis_tools/coco_error_analysis.py',
        'results.segm.json',
        'errors',
        f'--ann={ann_file}',
        '--types=segm',
    )
    made = place / 'errors' / 'segm' / 'segm-ring-allarea.png'
    assert cv2.imread(str(made)).std()


def test_analyze_logs(place, shapes, monkeypatch, capsys):
    # Of seaborn, which the tool needs, it only uses this; that of the forks
    # uses matplotlib, of which its default is no style.
    seaborn = types.ModuleType('seaborn')
    seaborn.set_style = lambda style: None
    monkeypatch.setitem(sys.modules, 'seaborn', seaborn)
    lines = [
        dict(epoch=e, iter=i, step=i, loss_mask=1 / i, time=0.1)
        for e in (1, 2)
        for i in (1, 2, 3)
    ]
    log = place / 'scalars.json'
    log.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    script = 'analysis_tools/analyze_logs.py'
    keys = ['--keys', 'loss_mask', '--out', 'curve.png']
    keys += ['--style', 'dark_background']
    call(place, shapes, script, 'plot_curve', log, *keys)
    assert cv2.imread(str(place / 'curve.png')).std()
    call(place, shapes, script, 'cal_train_time', log)
    assert 'average iter time: 0.1000 s/iter' in capsys.readouterr().out


def test_benchmark_of_the_data(place, shapes):
    arguments = ['--task', 'dataloader', '--max-iter', 2, '--num-warmup', 1]
    call(
        place,
        shapes,
        'analysis_tools/benchmark.py',
        SHAPES_CONFIG,
        *arguments,
        '--log-interval',
        1,
        '--work-dir',
        'benchmark',
        options=['test_dataloader.batch_size=1'],
    )
    log = place / 'benchmark' / 'benchmark.log'
    assert 'Overall fps' in log.read_text()


def test_jsons_are_split_and_made(place, shapes):
    arguments = ['--data-root', shapes, '--out-dir', place / 'split']
    few = ['--labeled-percent', '50', '--fold', '1']
    call(place, shapes, 'misc/split_coco.py', *arguments, *few)
    parts = [json.loads(p.read_text()) for p in (place / 'split').iterdir()]
    assert sum(len(part['images']) for part in parts) == 12

    shutil.copytree(shapes / 'val2017', place / 'images')
    (place / 'classes.txt').write_text('\n'.join(CLASSES))
    script = 'dataset_converters/images2coco.py'
    call(place, shapes, script, 'images', 'classes.txt', 'new.json')
    made = json.loads((place / 'annotations' / 'new.json').read_text())
    assert len(made['images']) == 5
    assert [one['name'] for one in made['categories']] == list(CLASSES)


def test_test_time_augmentation(place, shapes):
    arguments = [SHAPES_CONFIG, 'epoch_1.pth', '--tta', '--out', 'tta.pkl']
    call(place, shapes, 'test.py', *arguments, '--work-dir', 'tta')
    plain = mmengine.load(place / 'out.pkl')
    merged = mmengine.load(place / 'tta.pkl')
    for one, other in zip(plain, merged):
        alone, both = one['pred_instances'], other['pred_instances']
        assert len(both['masks']) == len(both['scores']) >= 5
        # The better view's best detection is that of both together.
        assert both['scores'].max() >= alone['scores'].max() - 1e-5


def view(boxes, scores, direction=None):
    """What a view of 40 x 60 pixels shows, each mask filling the upper left
    quarter of its box in the image."""
    masks = torch.zeros(len(boxes), 40, 60, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes):
        mask[y1 : (y1 + y2) // 2, x1 : (x1 + x2) // 2] = True
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    if direction:
        axes = dict(horizontal=[2], vertical=[1], diagonal=[1, 2])[direction]
        masks = torch.flip(masks, axes)
        boxes = bbox_flip(boxes, (40, 60), direction)
    sample = DetDataSample(
        metainfo=dict(
            ori_shape=(40, 60),
            flip=direction is not None,
            flip_direction=direction,
        )
    )
    sample.pred_instances = InstanceData(
        bboxes=boxes,
        scores=torch.tensor(scores),
        labels=torch.zeros(len(boxes), dtype=torch.long),
        masks=masks,
    )
    return sample


class Detector(torch.nn.Module):
    """Something to wrap, of which only the views' results are merged."""

    test_step = None


@pytest.fixture
def tta_models():
    config = mmengine.Config.fromfile(SHAPES_CONFIG).tta_model
    assert config.pop('type') == 'MaskTTAModel'
    return (
        MaskTTAModel(module=Detector(), **config),
        DetTTAModel(module=Detector(), **config),
    )


@pytest.mark.parametrize('direction', ['horizontal', 'vertical', 'diagonal'])
def test_views_are_merged_with_their_masks(tta_models, direction):
    first, second = [4, 4, 24, 24], [30, 10, 50, 38]
    views = [
        view([first], [0.6]),
        view([second, [5, 5, 25, 25]], [0.9, 0.5], direction),
    ]
    ours, _ = tta_models
    (found,) = ours.merge_preds([views])
    expected = [
        view([second], [0.9]).pred_instances,
        view([first], [0.6]).pred_instances,
    ]
    found = found.pred_instances
    assert found.scores.tolist() == pytest.approx([0.9, 0.6])
    for key in ('bboxes', 'masks'):
        wanted = torch.cat([one[key] for one in expected])
        assert torch.equal(found[key], wanted)


def test_views_of_nothing_and_of_boxes_alone(tta_models):
    ours, _ = tta_models
    (found,) = ours.merge_preds([[view([], []), view([], [], 'horizontal')]])
    assert found.pred_instances.masks.shape == (0, 40, 60)
    boxes = view([[4, 4, 24, 24]], [0.6], 'horizontal')
    del boxes.pred_instances.masks
    (found,) = ours.merge_preds([[boxes]])
    assert found.pred_instances.bboxes.tolist() == [[4, 4, 24, 24]]
    assert 'masks' not in found.pred_instances
    boxes.pred_instances.masks = [dict(size=[40, 60], counts='')]
    with pytest.raises(TypeError, match='not RLEMasks'):
        ours.merge_preds([[boxes]])


@pytest.mark.parametrize('nms', ['nms', 'soft_nms'])
def test_boxes_and_scores_are_those_of_mmdet(tta_models, nms):
    views = [
        view([[4, 4, 24, 24], [6, 4, 26, 24]], [0.6, 0.5]),
        view([[5, 5, 25, 25], [30, 10, 50, 38]], [0.55, 0.9], 'vertical'),
    ]
    ours, mmdets = tta_models
    ours.tta_cfg.nms.type = mmdets.tta_cfg.nms.type = nms
    (found,) = ours.merge_preds([[one.clone() for one in views]])
    for one in views:
        del one.pred_instances.masks
    (expected,) = mmdets.merge_preds([views])
    assert len(expected.pred_instances) == (2 if nms == 'nms' else 4)
    for key in ('bboxes', 'scores', 'labels'):
        wanted = expected.pred_instances[key]
        assert torch.equal(found.pred_instances[key], wanted)
