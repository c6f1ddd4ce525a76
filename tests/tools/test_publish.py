"""publish.py: weights alone, in half precision."""

from common.configs import load_config, load_model

import publish
import pytest
import torch
from support.helpers import SHAPES_CONFIG, build_model
from support.in_process import complaint, run_command, save_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    file = save_checkpoint(build_model(), tmp_path / 'epoch_9.pth')
    content = torch.load(file)
    content['optimizer'] = dict(momentum=torch.zeros(10**6))
    torch.save(content, file)
    return file


def test_a_published_checkpoint_is_small_and_loads(
    checkpoint, tmp_path, capsys
):
    out = tmp_path / 'small.pth'
    run_command(publish, checkpoint, out)
    assert str(out) in capsys.readouterr().out
    weights = sum(p.numel() for p in build_model().parameters())
    assert out.stat().st_size < 2.2 * weights < checkpoint.stat().st_size / 2
    config = load_config(SHAPES_CONFIG, {})
    small, full = (
        load_model(config, file, 'cpu') for file in (out, checkpoint)
    )
    assert small.dataset_meta['classes'] == full.dataset_meta['classes']
    for a, b in zip(small.parameters(), full.parameters()):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_what_cannot_be_published_is_named(checkpoint, tmp_path):
    out = tmp_path / 'small.pth'
    content = torch.load(checkpoint)
    content['state_dict']['bbox_head.retina_cls.bias'][0] = 1e5
    torch.save(content, checkpoint)
    sentence = complaint(publish, checkpoint, out)
    assert 'bbox_head.retina_cls.bias is not finite' in sentence
    torch.save({}, checkpoint)
    assert 'no state_dict' in complaint(publish, checkpoint, out)
    assert not out.exists()
