import doctest

import pytest
import torch
import torch.nn.functional as F
from support.references import decode_all_classes
from torch import nn

from projects.sprnet.decoder import (
    MASK_SIZE,
    NUM_LINEAR,
    Doubling,
    ShortcutPixelDecoder,
    SinglePixelDecoder,
    tree_to_grid,
)

CLASSES = 5
DECODERS = [SinglePixelDecoder, ShortcutPixelDecoder]
LABELS = torch.tensor([0, 4, 2, 2, 1, 3, 0])


def decoder(kind=ShortcutPixelDecoder, **options):
    torch.manual_seed(0)
    built = kind(CLASSES, in_channels=12, channels=8, **options)
    built.init_weights()
    for name, parameter in built.named_parameters():
        if name.endswith('bias') or name.startswith('classifier'):
            nn.init.normal_(parameter)
    return built


@pytest.mark.parametrize('kind', DECODERS)
def test_is_the_on_class_channel_of_the_full_map(kind):
    model = decoder(kind)
    embeddings = torch.randn(7, 12, requires_grad=True)
    expected = decode_all_classes(model, embeddings)[range(7), LABELS]
    logits = model(embeddings, LABELS)
    assert logits.shape == (7, MASK_SIZE, MASK_SIZE) == (7, 32, 32)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)

    inputs = [embeddings, *model.parameters()]
    weight = torch.randn_like(logits) / 100
    grads = torch.autograd.grad((logits * weight).sum(), inputs)
    reference = torch.autograd.grad((expected * weight).sum(), inputs)
    for grad, expected_grad in zip(grads, reference):
        torch.testing.assert_close(grad, expected_grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('kind', DECODERS)
def test_is_the_plain_network_of_the_docstring(kind):
    torch.manual_seed(0)
    embeddings, labels = torch.randn(4, 640), torch.tensor([0, 4, 2, 4])
    plain = dict(nn=nn, F=F, num_classes=CLASSES, P=4)
    plain.update(embeddings=embeddings, labels=labels)
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
    logits = model(embeddings, labels)
    assert logits.shape == (4, 32, 32)
    torch.testing.assert_close(logits, plain['logits'], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('kind', DECODERS)
@pytest.mark.parametrize('at_once', [1, 3, 6, 1000])
def test_masks_at_once_change_nothing(monkeypatch, kind, at_once):
    model, embeddings = decoder(kind), torch.randn(7, 12)
    expected = decode_all_classes(model, embeddings)[range(7), LABELS]
    monkeypatch.setattr('projects.sprnet.decoder.ON_CPU_AT_ONCE', at_once)
    logits = model(embeddings, LABELS)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_doubling_is_a_deconvolution():
    deconv = nn.ConvTranspose2d(3, 4, 2, stride=2)
    x = torch.randn(2, 3, 1, 1)
    cells = Doubling(deconv)(x.flatten(2).transpose(1, 2))
    torch.testing.assert_close(
        cells.transpose(1, 2).view(2, 4, 2, 2), deconv(x)
    )


def test_the_weights_of_doublings_are_not_copied():
    for deconv in decoder().deconvs:
        same = Doubling(deconv).weight.data_ptr() == deconv.weight.data_ptr()
        assert same


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
        cells = Doubling(deconv)(cells)
        if i >= NUM_LINEAR:
            cells = cells.relu()
    assert 0.4 < cells.std() < 0.8


def test_no_instances_still_reach_every_weight():
    model = decoder()
    logits = model(torch.zeros(0, 12), torch.zeros(0, dtype=torch.long))
    assert logits.shape == (0, 32, 32)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())
