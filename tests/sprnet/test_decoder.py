import doctest

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from projects.sprnet.decoder import (
    Doubling,
    ShortcutPixelDecoder,
    SinglePixelDecoder,
    index_within_group,
    tree_to_grid,
)

CLASSES = 5
DECODERS = [SinglePixelDecoder, ShortcutPixelDecoder]


def decoder(kind=ShortcutPixelDecoder, **options):
    torch.manual_seed(0)
    built = kind(CLASSES, in_channels=12, channels=8, **options)
    built.init_weights()
    for name, parameter in built.named_parameters():
        if name.endswith('bias') or name.startswith('classifier'):
            nn.init.normal_(parameter)
    return built


def all_classes(model, codes):
    """Section 3.2 word for word: (Q, C) to (Q, K, S, S)."""
    x = codes[..., None, None]
    for deconv in model.deconvs[: model.num_linear]:
        x = deconv(x)
    shortcut = x
    for deconv in model.deconvs[model.num_linear :]:
        x = deconv(x).relu()
    if isinstance(model, ShortcutPixelDecoder):
        x = x + F.interpolate(shortcut, size=x.shape[2:], mode='nearest')
    return model.classifier(x)


# Owners and labels
ONE_MASK_EACH = [0, 1, 2, 3, 4, 5, 6], [0, 4, 2, 2, 1, 3, 0]
# Vectors 0, 2 and 6 have several masks, 2 has two of a class, 5 has none.
SEVERAL = [6, 0, 2, 2, 1, 6, 3, 0, 2, 4], [1, 0, 3, 3, 4, 0, 2, 4, 1, 0]


@pytest.mark.parametrize('kind', DECODERS)
@pytest.mark.parametrize('num_relu', [2, 1, 0])
@pytest.mark.parametrize('masks', [ONE_MASK_EACH, SEVERAL])
def test_is_the_on_class_channel_of_the_full_map(kind, num_relu, masks):
    model = decoder(kind, num_relu=num_relu)
    codes = torch.randn(7, 12, requires_grad=True)
    owners, labels = map(torch.tensor, masks)
    expected = all_classes(model, codes)[owners, labels]
    logits = model(codes, owners, labels)
    assert logits.shape == (len(owners), model.mask_size, model.mask_size)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)

    inputs = [codes, *model.parameters()]
    weight = torch.randn_like(logits) / 100
    grads = torch.autograd.grad((logits * weight).sum(), inputs)
    reference = torch.autograd.grad((expected * weight).sum(), inputs)
    for grad, expected_grad in zip(grads, reference):
        torch.testing.assert_close(grad, expected_grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('kind', DECODERS)
def test_is_the_plain_network_of_the_docstring(kind):
    torch.manual_seed(0)
    codes = torch.randn(4, 640)
    owners, labels = torch.tensor([[3, 0, 3, 1], [0, 4, 2, 4]])
    plain = dict(nn=nn, F=F, num_classes=CLASSES, codes=codes)
    plain.update(owners=owners, labels=labels)
    plain['shortcut'] = kind is ShortcutPixelDecoder
    parser = doctest.DocTestParser()
    lines = parser.get_examples(SinglePixelDecoder.__doc__)
    exec(''.join(line.source for line in lines), plain)

    model = kind(CLASSES)
    layers = [*plain['linear'], *plain['relu'], plain['classifier']]
    layers = [layer for layer in layers if not isinstance(layer, nn.ReLU)]
    assert len(layers) == len(model.deconvs) + 1
    for fast, layer in zip([*model.deconvs, model.classifier], layers):
        fast.load_state_dict(layer.state_dict())
    logits = model(codes, owners, labels)
    assert logits.shape == (4, 32, 32)
    torch.testing.assert_close(logits, plain['logits'], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('at_once', [1, 3, 6, 1000])
def test_pixels_at_once_change_nothing(monkeypatch, at_once):
    model, codes = decoder(), torch.randn(7, 12)
    owners, labels = map(torch.tensor, SEVERAL)
    expected = all_classes(model, codes)[owners, labels]
    monkeypatch.setattr('projects.sprnet.decoder.ON_CPU_AT_ONCE', at_once)
    logits = model(codes, owners, labels)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('count,items', [(0, 0), (3, 0), (1, 5), (9, 40)])
def test_index_within_group_against_a_loop(count, items):
    torch.manual_seed(0)
    owners = torch.randint(max(count, 1), (items,))
    sizes = [0] * count
    expected = []
    for owner in owners.tolist():
        expected.append(sizes[owner])
        sizes[owner] += 1
    index, largest = index_within_group(owners)
    assert index.tolist() == expected
    assert largest == max(sizes, default=0)


def test_doubling_is_a_deconvolution():
    deconv = nn.ConvTranspose2d(3, 4, 2, stride=2)
    x = torch.randn(2, 3, 1, 1)
    cells = Doubling.of(deconv)(x.flatten(2).transpose(1, 2))
    torch.testing.assert_close(
        cells.transpose(1, 2).view(2, 4, 2, 2), deconv(x)
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
        cells = Doubling.of(deconv)(cells)
        if i >= model.num_linear:
            cells = cells.relu()
    assert 0.4 < cells.std() < 0.8


def test_no_pixels_still_reach_every_weight():
    model = decoder()
    none = torch.zeros(0, dtype=torch.long)
    logits = model(torch.zeros(0, 12), none, none)
    assert logits.shape == (0, 32, 32)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
