import pytest
import torch
import torch.nn.functional as F
from support.helpers import all_pixels, at_all_pixels, pyramid

from projects.sprnet.encoders import ConsecutiveConvs, MultiScaleFusion

SIZES = [(15, 17), (8, 9), (4, 5), (2, 3), (1, 2)]


def dense_fusion(encoder, level):
    return torch.cat([conv(level) for conv in encoder.convs], dim=1).relu()


def dense_consecutive(encoder, level):
    for conv in encoder.convs:
        level = F.conv2d(level, conv.weight, conv.bias, padding=1).relu()
    return level


ENCODERS = [
    (MultiScaleFusion, dict(channels=(8, 4, 4, 4)), dense_fusion),
    (
        MultiScaleFusion,
        dict(channels=(4,) * 4, kernels=(3,) * 4, dilations=(1, 2, 4, 6)),
        dense_fusion,
    ),
    (ConsecutiveConvs, dict(channels=5, num_convs=4), dense_consecutive),
]


@pytest.mark.parametrize('kind,options,dense', ENCODERS)
@pytest.mark.parametrize('chosen', ['all', 'some', 'none'])
def test_equals_the_dense_convolutions_at_the_pixels(
    kind, options, dense, chosen
):
    torch.manual_seed(0)
    encoder = kind(6, **options)
    encoder.init_weights()
    for conv in encoder.convs:
        torch.nn.init.normal_(conv.bias)
    feats = pyramid(SIZES)
    indices, pixels = all_pixels(SIZES, batch=2)
    count = dict(all=len(pixels), some=40, none=0)[chosen]
    which = torch.randperm(len(pixels))[:count]
    maps = [dense(encoder, level) for level in feats]
    expected = at_all_pixels(maps)[which]
    codes = encoder(feats, indices[which], pixels[which])
    assert codes.shape == (len(which), encoder.out_channels)
    torch.testing.assert_close(codes, expected, atol=1e-5, rtol=0)

    weight = torch.randn_like(codes) / 100
    inputs = [*feats, *encoder.parameters()]
    grads = torch.autograd.grad((codes * weight).sum(), inputs)
    reference = torch.autograd.grad((expected * weight).sum(), inputs)
    for grad, expected_grad in zip(grads, reference):
        torch.testing.assert_close(grad, expected_grad, atol=1e-5, rtol=0)


def test_the_sizes_of_the_text_and_of_table_3a():
    assert MultiScaleFusion(256).out_channels == 640
    assert ConsecutiveConvs(256).out_channels == 256
