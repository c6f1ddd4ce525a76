"""Commands on configs whose test set is a wrapper, or missing."""

import json

import compare
import export
import gate_maps
import mask_errors
import predict
import pytest
from support.helpers import SHAPES_CONFIG, build_model
from support.in_process import (
    complaint,
    is_picture,
    run_command,
    save_checkpoint,
    val_images,
)

from projects.sprnet.runtime.errors import InputError

CONCATENATED = """
inner = dict(_base_.val_dataloader.dataset)
val_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[inner]),
)
test_dataloader = val_dataloader
"""
NO_TEST = """
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = test_evaluator = test_cfg = None
"""
NO_VALIDATION = """
test_dataloader = dict(num_workers=0, persistent_workers=False)
val_dataloader = val_evaluator = val_cfg = None
"""
NEITHER = NO_TEST + 'val_dataloader = val_evaluator = val_cfg = None\n'


def write_config(file, more):
    file.write_text(
        f'_base_ = {str(SHAPES_CONFIG)!r}\n'
        'model = dict(\n'
        '    backbone=dict(base_channels=8),\n'
        '    neck=dict(in_channels=[8, 16, 32, 64]),\n'
        '    test_cfg=dict(score_thr=0.0, max_per_img=5),\n'
        ')\n' + more
    )
    return file


@pytest.fixture(scope='module', params=[CONCATENATED, NO_TEST, NO_VALIDATION])
def model(request, shapes, tmp_path_factory):
    folder = tmp_path_factory.mktemp('model')
    config = write_config(folder / 'config.py', request.param)
    checkpoint = save_checkpoint(build_model(config), folder / 'untrained.pth')
    return config, checkpoint


@pytest.fixture
def options(shapes, tmp_path):
    return ('--device', 'cpu', '--cfg-options', f'data_root={shapes}')


def test_predicts(model, shapes, options, tmp_path):
    image = val_images(shapes)[0]
    out = ('--out-dir', tmp_path)
    run_command(predict, *model, image, *out, *options)
    detected = json.loads((tmp_path / 'coco.json').read_text())
    assert len(detected['annotations']) == 5


def test_draws_gate_maps(model, shapes, options, tmp_path):
    image = val_images(shapes)[0]
    run_command(gate_maps, *model, image, '--out-dir', tmp_path, *options)
    assert is_picture(tmp_path / f'{image.stem}.png')


def test_compares(model, options, tmp_path):
    number = ('--number', 1, '--out-dir', tmp_path)
    run_command(compare, *model, *model, *number, *options)
    assert len(list(tmp_path.glob('*.png'))) == 1


def test_measures_mask_errors(model, options, capsys):
    run_command(mask_errors, *model, *options)
    rows = capsys.readouterr().out.splitlines()
    assert rows[-1].startswith('both true')


def test_exports(model, options, tmp_path, monkeypatch):
    def reached(*_):
        raise InputError('the graph would be written now')

    monkeypatch.setattr(export, 'export', reached)
    monkeypatch.setattr(export, 'require', lambda missing: None)
    sentence = complaint(export, *model, tmp_path / 'a.onnx', *options[2:])
    assert sentence.endswith('would be written now')


@pytest.mark.parametrize('tool', [predict, gate_maps, mask_errors])
def test_neither_set_is_said(tool, shapes, tmp_path):
    config = write_config(tmp_path / 'config.py', NEITHER)
    checkpoint = save_checkpoint(build_model(config), tmp_path / 'a.pth')
    images = [] if tool is mask_errors else [val_images(shapes)[0]]
    sentence = complaint(tool, config, checkpoint, *images)
    assert 'neither test_dataloader nor val_dataloader' in sentence


def test_mask_errors_need_a_metric_of_the_same_images(model, options):
    config, _ = model
    other = 'test_evaluator.ann_file=other.json'
    sentence = complaint(mask_errors, *model, *options, other)
    assert 'test_evaluator.ann_file=other.json must be' in sentence
    boxes = 'test_evaluator.metric=bbox'
    sentence = complaint(mask_errors, *model, *options, boxes)
    assert "test_evaluator has no metric='segm'" in sentence
