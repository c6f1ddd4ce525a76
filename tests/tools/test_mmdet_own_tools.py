"""MMDetection's own tools on our configs, see tools/mmdet_tools.md."""

import json
import multiprocessing.dummy
import re
import shutil
import sys
import time
import types

from common.mmdet_scripts import SCRIPTS

import cv2
import mmdet_tool
import mmengine
import pytest
import torch
from mmengine.logging import HistoryBuffer
from shapes_data.scenes import CLASSES
from support.commands import run_here, small
from support.helpers import ROOT, SHAPES_CONFIG, build_model

PAGE = (ROOT / 'tools' / 'mmdet_tools.md').read_text()
# The model of support.commands.SMALL
NARROW = {'backbone.base_channels': 8, 'neck.in_channels': [8, 16, 32, 64]}
FEW = ['model.test_cfg.max_per_img=5', 'test_evaluator.outfile_prefix=results']


@pytest.fixture(scope='module')
def place(shapes, tmp_path_factory):
    """A folder with a checkpoint, as training writes it, and the outputs of
    test.py."""
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
    """Run a script of mmdet's in a folder; configs are made small."""
    if SHAPES_CONFIG in arguments:
        arguments += (*small(shapes, *FEW), *options)
    with pytest.MonkeyPatch.context() as patch:
        # Threads: two of the scripts start dozens of processes
        patch.setattr(multiprocessing, 'Pool', multiprocessing.dummy.Pool)
        run_here(place, script, *arguments)


def test_the_page_names_tools_that_exist():
    named = re.findall(r'^\| `([\w/]+\.py)', PAGE, re.MULTILINE)
    assert len(named) > 15
    for name in named:
        assert (SCRIPTS / name).is_file(), name


def test_an_unknown_script_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mmdet_tool.py', 'misc/no.py', '--help'])
    with pytest.raises(SystemExit):
        mmdet_tool.main()
    assert 'misc/no.py' in capsys.readouterr().err


def test_get_flops(place, shapes, capsys):
    script = 'analysis_tools/get_flops.py'
    call(place, shapes, script, SHAPES_CONFIG, '--num-images', 1)
    output = capsys.readouterr().out
    count = sum(p.numel() for p in build_model(**NARROW).parameters())
    params = float(re.search(r'Params: ([\d.]+)M', output)[1])
    assert params == pytest.approx(count / 1e6, abs=0.01)
    assert float(re.search(r'Flops: ([\d.]+)G', output)[1]) > 0.1


def test_print_config(place, shapes, capsys):
    call(place, shapes, 'misc/print_config.py', SHAPES_CONFIG)
    output = capsys.readouterr().out
    assert "type='SPRNet'" in output and f"data_root='{shapes}/'" in output


def test_publish_model(place, shapes):
    script = 'model_converters/publish_model.py'
    call(place, shapes, script, 'epoch_1.pth', 'published.pth')
    for _ in range(100):  # the script does not wait for its `mv`
        files = list(place.glob('published-*.pth'))
        if files and not (place / 'published.pth').exists():
            break
        time.sleep(0.05)
    published = torch.load(files[0])
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
    plot = place / 'errors' / 'segm' / 'segm-ring-allarea.png'
    assert cv2.imread(str(plot)).std()


def test_analyze_logs(place, shapes, monkeypatch, capsys):
    # The script uses this function of seaborn only. The forks' script passes
    # --style to matplotlib, which does not know its default.
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
    options = '--keys loss_mask --out curve.png --style dark_background'
    call(place, shapes, script, 'plot_curve', log, *options.split())
    assert cv2.imread(str(place / 'curve.png')).std()
    call(place, shapes, script, 'cal_train_time', log)
    assert 'average iter time: 0.1000 s/iter' in capsys.readouterr().out


def test_benchmark_of_the_data(place, shapes):
    arguments = (
        '--task dataloader --max-iter 2 --num-warmup 1 --log-interval 1 '
        '--work-dir benchmark'
    )
    call(
        place,
        shapes,
        'analysis_tools/benchmark.py',
        SHAPES_CONFIG,
        *arguments.split(),
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
    coco = json.loads((place / 'annotations' / 'new.json').read_text())
    assert len(coco['images']) == 5
    assert [c['name'] for c in coco['categories']] == list(CLASSES)


def with_one_name(shapes, root):
    """Copy the shapes with two images in each set, which have the same name
    in two folders."""
    shutil.copytree(shapes, root)
    for images in ('train2017', 'val2017'):
        file = root / 'annotations' / f'instances_{images}.json'
        data = json.loads(file.read_text())
        del data['images'][2:]
        ids = [image['id'] for image in data['images']]
        data['annotations'] = [
            one for one in data['annotations'] if one['image_id'] in ids
        ]
        for folder, image in zip('ab', data['images']):
            (root / images / folder).mkdir()
            old = root / images / image['file_name']
            image['file_name'] = f'{folder}/same.jpg'
            old.rename(root / images / image['file_name'])
        file.write_text(json.dumps(data))
    return root


def pictures_in(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob('*.jpg')}


def test_pictures_of_images_with_one_name_are_all_kept(
    place, shapes, tmp_path
):
    data = with_one_name(shapes, tmp_path / 'data')
    script, out = 'analysis_tools/browse_dataset.py', tmp_path / 'browse'
    arguments = [SHAPES_CONFIG, '--not-show', '--output-dir', out]
    call(place, data, script, *arguments)
    assert pictures_in(out) == {'same.jpg', 'b/same.jpg'}

    out = tmp_path / 'pictures'
    arguments = [SHAPES_CONFIG, 'epoch_1.pth', '--work-dir', tmp_path / 'test']
    call(place, data, 'test.py', *arguments, '--show-dir', out)
    assert pictures_in(out) == {'a/same.jpg', 'b/same.jpg'}


def test_test_time_augmentation(place, shapes):
    arguments = [SHAPES_CONFIG, 'epoch_1.pth', '--tta', '--out', 'tta.pkl']
    call(place, shapes, 'test.py', *arguments, '--work-dir', 'tta')
    plain = mmengine.load(place / 'out.pkl')
    merged = mmengine.load(place / 'tta.pkl')
    for one_view, two_views in zip(plain, merged):
        one, two = one_view['pred_instances'], two_views['pred_instances']
        assert len(two['masks']) == len(two['scores']) >= 5
        # The best detection of both views is that of the better one.
        assert two['scores'].max() >= one['scores'].max() - 1e-5
