import pytest
import torch
from support.helpers import all_locations, pyramid
from support.references import embeddings_of

from projects.sprnet.encoders import ConsecutiveConvs, MultiScaleFusion
from projects.sprnet.structures import Features, Instances

SIZES = [(15, 17), (8, 9), (4, 5), (2, 3), (1, 2)]
ENCODERS = [
    (MultiScaleFusion, dict(channels=(8, 4, 4, 4))),
    (
        MultiScaleFusion,
        dict(channels=(4,) * 4, kernels=(3,) * 4, dilations=(1, 2, 4, 6)),
    ),
    (ConsecutiveConvs, dict(channels=5, num_convs=4)),
]


def instances_at(picture, location):
    return Instances(picture, None, torch.zeros_like(picture), location)


@pytest.mark.parametrize('kind,options', ENCODERS)
@pytest.mark.parametrize('chosen', ['all', 'some', 'twice', 'none'])
def test_equals_the_dense_convolutions_at_the_locations(kind, options, chosen):
    torch.manual_seed(0)
    encoder = kind(6, **options)
    encoder.init_weights()
    for conv in encoder.convs:
        torch.nn.init.normal_(conv.bias)
    features = Features(tuple(pyramid(SIZES)))
    places = all_locations(SIZES, batch=2)
    order = torch.randperm(len(places[0]))
    which = dict(
        all=order,
        some=order[:40],
        twice=order[:20].repeat(2),
        none=order[:0],
    )[chosen]
    instances = instances_at(*(place[which] for place in places))
    expected = embeddings_of(encoder, features, instances)
    embeddings = encoder(features, instances)
    assert embeddings.shape == (len(which), encoder.out_channels)
    torch.testing.assert_close(embeddings, expected, atol=1e-5, rtol=0)

    weight = torch.randn_like(embeddings) / 100
    inputs = [*features.levels, *encoder.parameters()]
    grads = torch.autograd.grad((embeddings * weight).sum(), inputs)
    reference = torch.autograd.grad((expected * weight).sum(), inputs)
    for grad, expected_grad in zip(grads, reference):
        torch.testing.assert_close(grad, expected_grad, atol=1e-5, rtol=0)


def test_the_sizes_of_the_text_and_of_table_3a():
    assert MultiScaleFusion(256).out_channels == 640
    assert ConsecutiveConvs(256).out_channels == 256
