import pytest
import torch
import torch.nn.functional as F
from torch import nn

from projects.sprnet.decoder import (
    ShortcutPixelDecoder,
    SinglePixelDecoder,
    double,
    tree_to_grid,
)

CLASSES = 5


def decoder(kind=ShortcutPixelDecoder, **options):
    torch.manual_seed(0)
    built = kind(CLASSES, in_channels=12, channels=8, **options)
    built.init_weights()
    for name, parameter in built.named_parameters():
        if name.endswith('bias') or name.startswith('classifier'):
            nn.init.normal_(parameter)
    return built


def all_classes(model, codes):
    """Section 3.2 word for word: (P, C) -> (P, K, S, S)."""
    x = codes[..., None, None]
    for deconv in model.deconvs[:3]:
        x = deconv(x)
    shortcut = x
    for deconv in model.deconvs[3:]:
        x = deconv(x).relu()
    if isinstance(model, ShortcutPixelDecoder):
        x = x + F.interpolate(shortcut, size=x.shape[2:], mode='nearest')
    return model.classifier(x)


@pytest.mark.parametrize('kind', [SinglePixelDecoder, ShortcutPixelDecoder])
@pytest.mark.parametrize('num_relu', [2, 1])
def test_is_the_on_class_channel_of_the_full_map(kind, num_relu):
    model = decoder(kind, num_relu=num_relu)
    codes = torch.randn(7, 12, requires_grad=True)
    labels = torch.tensor([0, 4, 2, 2, 1, 3, 0])
    expected = all_classes(model, codes)[range(7), labels]
    logits = model(codes, labels)
    assert logits.shape == (7, model.mask_size, model.mask_size)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)

    inputs = [codes, *model.parameters()]
    weight = torch.randn_like(logits) / 100
    grads = torch.autograd.grad((logits * weight).sum(), inputs)
    reference = torch.autograd.grad((expected * weight).sum(), inputs)
    for grad, expected_grad in zip(grads, reference):
        torch.testing.assert_close(grad, expected_grad, atol=1e-5, rtol=1e-4)


def test_the_papers_sizes():
    model = ShortcutPixelDecoder(80)
    assert model.mask_size == 32
    assert [tuple(d.weight.shape) for d in model.deconvs] == [
        (640, 256, 2, 2)
    ] + [(256, 256, 2, 2)] * 4


def test_doubling_is_a_deconvolution():
    deconv = nn.ConvTranspose2d(3, 4, 2, stride=2)
    x = torch.randn(2, 3, 1, 1)
    cells = double(
        double(
            x.flatten(2).transpose(1, 2), deconv.__class__(3, 3, 2, stride=2)
        ),
        deconv,
    )
    assert cells.shape == (2, 16, 4)
    once = double(x.flatten(2).transpose(1, 2), deconv)
    torch.testing.assert_close(
        once.transpose(1, 2).view(2, 4, 2, 2), deconv(x)
    )


def test_tree_order_by_loops():
    depth = 3
    tree = torch.arange(4**depth)[None]
    grid = tree_to_grid(tree, depth)[0]
    for index in range(4**depth):
        y = x = 0
        for digit in range(depth - 1, -1, -1):
            child = index // 4**digit % 4
            y, x = 2 * y + child // 2, 2 * x + child % 2
        assert grid[y, x] == index


def test_initial_weights_keep_the_variance():
    torch.manual_seed(0)
    model = ShortcutPixelDecoder(3)
    model.init_weights()
    cells = 0.58 * torch.randn(20, 1, 640)
    for i, deconv in enumerate(model.deconvs):
        cells = double(cells, deconv)
        if i >= model.num_linear:
            cells = cells.relu()
    assert 0.4 < cells.std() < 0.8


def test_no_pixels_still_reach_every_weight():
    model = decoder()
    logits = model(torch.zeros(0, 12), torch.zeros(0, dtype=torch.long))
    assert logits.shape == (0, 32, 32)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    'option',
    [
        dict(channels=0),
        dict(num_linear=0),
        dict(num_relu=-1),
    ],
)
def test_wrong_options_are_named(option):
    ((name, value),) = option.items()
    with pytest.raises(ValueError, match=f'{name}={value} must be at least'):
        SinglePixelDecoder(CLASSES, **option)
