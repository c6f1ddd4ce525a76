"""The commands on a pretended GPU, which they choose by themselves."""

import json

from common.configs import load_config, load_model

import compare
import gate_maps
import gradient_flow
import mask_errors
import predict
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.device import get_device
from speed.parts import Parts
from support.commands import run_here
from support.helpers import SHAPES_CONFIG, build_model
from support.in_process import run_command, save_checkpoint, val_images
from support.simulated_device import Simulated, simulated_device
from torch import nn

SMALL = {
    'model.backbone.base_channels': 8,
    'model.neck.in_channels': [8, 16, 32, 64],
    'model.test_cfg.score_thr': 0.0,
    'model.test_cfg.max_per_img': 5,
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'train_dataloader.batch_size': 2,
    'optim_wrapper.optimizer.fused': False,  # PyTorch knows no such device
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
    'test_dataloader.dataset.indices': 2,
}


@pytest.fixture(autouse=True)
def on_the_device(monkeypatch):
    """Let commands run on the device; whatever they do elsewhere fails."""
    call = nn.Module.__call__

    def checked(module, *args, **kwargs):
        weights = [p for p in module.parameters(recurse=False)]
        assert all(isinstance(p, Simulated) for p in weights), module
        return call(module, *args, **kwargs)

    monkeypatch.setattr(nn.Module, '__call__', checked)
    with simulated_device():
        assert get_device() == 'lazy'
        yield


@pytest.fixture(scope='module')
def model(shapes, tmp_path_factory):
    """A small config that always detects something, and its checkpoint."""
    folder = tmp_path_factory.mktemp('model')
    config = load_config(SHAPES_CONFIG, dict(data_root=str(shapes), **SMALL))
    config.dump(folder / 'small.py')
    return folder / 'small.py', save_checkpoint(
        build_model(folder / 'small.py'), folder / 'untrained.pth'
    )


def test_training_measures_gradients_and_checks_losses(model, tmp_path):
    """With GradientFlowHook and the config's own hooks."""
    run_command(
        gradient_flow,
        *(model[0], '--iters', 2, '--interval', 1, '--out-dir', tmp_path),
    )
    (log,) = tmp_path.glob('small/*/*.log')
    text = log.read_text()
    assert text.count('gradient/P4-C5: ') == 2 and 'FiniteLossHook' in text
    assert text.count('loss_mask: ') == 2


RLE = ('--cfg-options', 'model.mask_head.mask_output.type=RLEMasks')


@pytest.mark.parametrize(
    'options', [(), ('--tta',), RLE], ids=['dense', 'tta', 'rle']
)
def test_testing(model, tmp_path, options):
    run_here(tmp_path, 'test.py', *model, *options)
    (figures,) = (tmp_path / 'work_dirs').glob('small/*/*.json')
    assert 0 <= json.loads(figures.read_text())['coco/segm_AR_100'] <= 1


def test_predicting(model, shapes, tmp_path):
    image = val_images(shapes)[0]
    run_command(predict, *model, image, '--out-dir', tmp_path)
    results = json.loads((tmp_path / 'coco.json').read_text())
    assert len(results['annotations']) == 5


def test_the_explorer(model, shapes):
    pytest.importorskip('gradio', reason='the explorer needs Gradio')
    from explore.actions import Actions

    config = load_config(model[0], {})
    detector = load_model(config, model[1], device=None)
    dataset = DATASETS.build(config.test_dataloader.dataset)
    actions = Actions(detector, dataset, [0])
    state = actions.open_first(0, 0.5)[0]
    assert len(state.view.detections) == 5
    assert len(actions.view_upload(val_images(shapes)[1]).detections) == 5


def test_mask_errors(model, capsys):
    run_command(mask_errors, *model)
    assert 'both true' in capsys.readouterr().out


def test_gate_maps_and_comparisons(model, shapes, tmp_path):
    image, folder = val_images(shapes)[0], ('--out-dir', tmp_path)
    run_command(gate_maps, *model, image, *folder)
    run_command(compare, *model, *model, *folder, '--number', 1)
    assert len(list(tmp_path.glob('*.png'))) > 1


def test_the_benchmark(model):
    device = torch.device(get_device())
    config, _ = model
    parts = Parts(
        dict(small=str(config)), ['small'], device, (64, 96), 1, str.strip
    )
    assert parts.latency() and parts.training()
