"""`make hello` and its model."""

import json

from common.configs import load_config, load_model

import hello
import make_shapes
import predict
import pytest
import torch
from support.helpers import ROOT
from support.in_process import is_picture, run_command

CONFIG, CHECKPOINT = (ROOT / name for name in hello.MODEL)


def test_the_model_is_small_and_complete():
    assert CHECKPOINT.stat().st_size < 12 * 2**20
    weights = torch.load(CHECKPOINT, weights_only=True)['state_dict']
    model = load_model(load_config(CONFIG, {}), CHECKPOINT, 'cpu')
    assert weights.keys() == model.state_dict().keys()
    assert {w.dtype for w in weights.values()} == {torch.half, torch.int64}


def test_shapes_are_found_and_explored(tmp_path, monkeypatch):
    """The explorer itself is tested elsewhere."""
    commands, tools = (
        [],
        {
            'tools/make_shapes.py': make_shapes,
            'tools/predict.py': predict,
        },
    )

    def run(name, *arguments):
        commands.append([name, *map(str, arguments)])
        if name in tools:
            run_command(tools[name], *arguments)

    monkeypatch.setattr(hello, 'run', run)
    monkeypatch.setattr(hello, 'SHAPES', ('--train', 1, '--val', 4))
    monkeypatch.chdir(tmp_path)
    run_command(hello, '--out-dir', tmp_path, '--port', 1234)
    assert is_picture(tmp_path / 'found.jpg')
    shapes = tmp_path / 'shapes'
    explorer = commands[-1]
    assert explorer[:3] == ['tools/explorer.py', *hello.MODEL]
    assert explorer[3:] == [
        *('--port', '1234'),
        *('--cfg-options', f'data_root={shapes}'),
    ]
    annotations = shapes / 'annotations' / 'instances_val2017.json'
    objects = json.loads(annotations.read_text())['annotations']
    found = json.loads((tmp_path / 'predictions' / 'coco.json').read_text())
    found = [one for one in found['annotations'] if one['score'] > 0.5]
    assert len(found) == pytest.approx(len(objects), rel=0.5)
