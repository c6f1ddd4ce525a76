"""`make hello` and its model."""

import json

from common.configs import load_config, load_model

import hello
import predict
import torch
from support.helpers import ROOT
from support.in_process import is_picture, run_command

CONFIG, CHECKPOINT = (ROOT / name for name in hello.MODEL)
DATA = ROOT / hello.DATA


def test_the_model_is_small_and_complete():
    assert CHECKPOINT.stat().st_size < 10 * 2**20
    weights = torch.load(CHECKPOINT, weights_only=True)['state_dict']
    model = load_model(load_config(CONFIG, {}), CHECKPOINT, 'cpu')
    assert weights.keys() == model.state_dict().keys()
    assert {w.dtype for w in weights.values()} == {torch.half, torch.int64}


def test_nuclei_are_found_and_explored(tmp_path, monkeypatch):
    """The explorer itself is tested elsewhere."""
    commands = []

    def run(name, *arguments):
        commands.append([name, *map(str, arguments)])
        if name == 'tools/predict.py':
            run_command(predict, *arguments)

    monkeypatch.setattr(hello, 'run', run)
    monkeypatch.chdir(tmp_path)
    run_command(hello, '--out-dir', tmp_path, '--port', 1234)
    assert is_picture(tmp_path / 'found.jpg')
    assert commands[-1] == [
        'tools/explorer.py',
        *hello.MODEL,
        *('--port', '1234'),
        *('--cfg-options', f'data_root={hello.DATA}'),
    ]
    truth = json.loads((DATA / 'val.json').read_text())
    assert {file.name for file in (DATA / 'val').iterdir()} == {
        image['file_name'] for image in truth['images']
    }
    found = json.loads((tmp_path / 'predictions' / 'coco.json').read_text())
    found = [one for one in found['annotations'] if one['score'] > 0.5]
    assert 0.7 < len(found) / len(truth['annotations']) < 1.1
