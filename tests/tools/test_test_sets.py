"""Commands on configs whose test set is a wrapper, or missing."""

import json
from types import SimpleNamespace

from common.configs import ensure_test_set, ensure_validation_set, load_config

import compare
import export
import mask_errors
import predict
import pytest
from support.helpers import SHAPES_CONFIG, build_model
from support.in_process import (
    complaint,
    run_command,
    save_checkpoint,
    val_images,
)

from projects.sprnet.errors import InputError

CONCATENATED = """
inner = dict(_base_.val_dataloader.dataset)
val_dataloader = dict(
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[inner])
)
test_dataloader = val_dataloader
"""
NO_TEST = """
test_dataloader = test_evaluator = test_cfg = None
"""
NO_VALIDATION = """
val_dataloader = val_evaluator = val_cfg = None
"""


@pytest.fixture
def model(tmp_path):
    """A function that adds lines to a small config; returns the config and a
    checkpoint."""

    def make(more):
        config = tmp_path / 'config.py'
        config.write_text(
            f'_base_ = {str(SHAPES_CONFIG)!r}\n'
            'model = dict(\n'
            '    backbone=dict(base_channels=8),\n'
            '    neck=dict(in_channels=[8, 16, 32, 64]),\n'
            '    test_cfg=dict(score_thr=0.0, max_per_img=5),\n'
            ')\n' + more
        )
        model = build_model(config)
        return config, save_checkpoint(model, tmp_path / 'untrained.pth')

    return make


@pytest.fixture
def options(shapes):
    return ('--cfg-options', f'data_root={shapes}')


@pytest.mark.parametrize('more', [CONCATENATED, NO_TEST, NO_VALIDATION])
def test_there_is_one_data_set_with_its_metric(more, model):
    config = load_config(model(more)[0], {})
    ensure_test_set(config)
    ensure_validation_set(config)
    for name in ('test', 'val'):
        dataset = config[f'{name}_dataloader'].dataset
        assert dataset.type == 'CheckedCocoDataset'
        assert config[f'{name}_evaluator'].ann_file.endswith('val2017.json')


def test_predicts(model, shapes, options, tmp_path):
    image = val_images(shapes)[0]
    where = ('--out-dir', tmp_path)
    run_command(predict, *model(CONCATENATED), image, *where, *options)
    detected = json.loads((tmp_path / 'coco.json').read_text())
    assert len(detected['annotations']) == 5


def test_compares(model, options, tmp_path):
    one = model(NO_VALIDATION)
    where = ('--number', 1, '--out-dir', tmp_path)
    run_command(compare, *one, *one, *where, *options)
    assert len(list(tmp_path.glob('*.png'))) == 1


def test_measures_mask_errors(model, options, capsys):
    workers = 'val_dataloader.persistent_workers=False'
    options = (*options, 'val_dataloader.num_workers=0', workers)
    run_command(mask_errors, *model(NO_TEST), *options)
    assert capsys.readouterr().out.splitlines()[-1].startswith('both true')


def test_exports(model, options, tmp_path, monkeypatch):
    def reached(*_):
        raise InputError('the graph would be written now')

    monkeypatch.setattr(export, 'export', reached)
    monkeypatch.setattr(export, 'require', lambda missing: None)
    arguments = (*model(NO_TEST), tmp_path / 'a.onnx', *options)
    assert complaint(export, *arguments).endswith('be written now')


def test_neither_set_is_said(model, shapes):
    neither = model(NO_TEST + NO_VALIDATION)
    sentence = complaint(predict, *neither, val_images(shapes)[0])
    assert 'neither test_dataloader nor val_dataloader' in sentence


def test_mask_errors_need_a_metric_of_masks_of_the_same_images(shapes):
    config = load_config(SHAPES_CONFIG, dict(data_root=str(shapes)))
    file = config.test_evaluator.ann_file
    for own, metric, words in (
        ('other.json', ['bbox', 'segm'], f'ann_file={file} must be the file'),
        (file, ['bbox'], "test_evaluator has no metric='segm'"),
    ):
        config.test_evaluator.metric = metric
        dataset = SimpleNamespace(ann_file=own, metainfo={})
        with pytest.raises(InputError, match=words):
            mask_errors.build_metric(config, dataset)
