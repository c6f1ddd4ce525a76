"""Every tool that loads a checkpoint refuses one that carries code."""

import os
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from common import steps
from common.mmdet_scripts import run_script

import compare
import demo
import explorer
import export
import gate_maps
import mask_errors
import predict
import pytest
import torch
from support.helpers import SHAPES_CONFIG, build_model

train, test = (
    SimpleNamespace(__file__=name, main=partial(run_script, name))
    for name in ('train.py', 'test.py')
)
INIT = 'model.backbone.init_cfg'
RUN = ['--work-dir', '.']
# The tool, its arguments after the config, and config options, None where the
# tool takes none
ENTRIES = {
    'resume': (train, ['--resume', 'bad.pth', *RUN], []),
    'load_from': (train, RUN, ['load_from=bad.pth']),
    'backbone': (
        train,
        RUN,
        [
            f'{INIT}._delete_=True',
            f'{INIT}.type=Pretrained',
            f'{INIT}.checkpoint=bad.pth',
        ],
    ),
    'test': (test, ['bad.pth', *RUN], []),
    'predict': (predict, ['bad.pth', 'image.jpg'], None),
    'gate_maps': (gate_maps, ['bad.pth', 'image.jpg'], None),
    'compare': (compare, ['good.pth', SHAPES_CONFIG, 'bad.pth'], []),
    'mask_errors': (mask_errors, ['bad.pth'], []),
    'explorer': (explorer, ['bad.pth'], []),
    'export': (export, ['bad.pth', 'out.onnx'], []),
}
NEEDS = dict(explorer=['gradio'], export=['onnxscript', 'onnxruntime'])


class Payload:
    """Makes a folder if it is unpickled without weights-only loading."""

    def __reduce__(self):
        return os.mkdir, (os.path.abspath('trap'),)


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    file = tmp_path_factory.mktemp('good') / 'good.pth'
    torch.save(dict(state_dict=build_model().state_dict(), meta={}), file)
    return file


@pytest.fixture
def folder(good, shapes, tmp_path, monkeypatch):
    """The working directory, where a run would resume from bad.pth."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(good, tmp_path)
    shutil.copy(next((shapes / 'val2017').glob('*.jpg')), 'image.jpg')
    torch.save(dict(state_dict={}, meta=Payload()), 'bad.pth')
    Path('last_checkpoint').write_text(os.path.abspath('bad.pth'))
    yield tmp_path
    assert not (tmp_path / 'trap').exists()


def call(monkeypatch, tool, *argv):
    """Run a tool's main(); returns the message it ends with."""
    monkeypatch.setattr(sys, 'argv', [tool.__file__, *map(str, argv)])
    with pytest.raises(SystemExit) as end:
        tool.main()
    return end.value.code


@pytest.mark.parametrize('entry', ENTRIES)
def test_refused(entry, folder, shapes, monkeypatch):
    for package in NEEDS.get(entry, []):
        pytest.importorskip(package)
    tool, arguments, options = ENTRIES[entry]
    if options is not None:
        options = ['--cfg-options', f'data_root={shapes}', *options]
    end = call(monkeypatch, tool, SHAPES_CONFIG, *arguments, *(options or []))
    name = Path(tool.__file__).name
    assert end.startswith(f'{name}: the checkpoint was refused')
    assert '\n' not in end


def test_refused_in_the_demo(folder, shapes, monkeypatch):
    """demo.py starts train.py, which is run in this process here."""
    messages = []

    def run(command):
        if Path(command[1]).name == 'train.py':
            _, _, *arguments = command
            messages.append(call(monkeypatch, train, *arguments))
        return SimpleNamespace(returncode=len(messages))

    monkeypatch.setattr(steps, 'subprocess', SimpleNamespace(run=run))
    end = call(monkeypatch, demo, '--data', shapes, '--work-dir', folder)
    assert end == 'demo.py: stopped because tools/train.py failed'
    assert messages[0].startswith('train.py: the checkpoint was refused')


@pytest.mark.parametrize('share', [0, 0.01, 0.5, 0.999])
def test_a_damaged_checkpoint_is_named(share, folder, shapes, monkeypatch):
    content = Path('good.pth').read_bytes()
    Path('bad.pth').write_bytes(content[: int(len(content) * share)])
    end = call(monkeypatch, predict, SHAPES_CONFIG, 'bad.pth', 'image.jpg')
    assert end.startswith('predict.py: the checkpoint was refused')
    assert 'bad.pth' in end and '\n' not in end
