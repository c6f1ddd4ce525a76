import doctest

import mmdet
import numpy as np
import pytest
import torch
from mmdet.models.necks import FPN
from mmdet.registry import MODELS
from mmdet.utils import register_all_modules
from mmengine.config import Config
from support.helpers import sample

from projects.sprnet.gfpn import GFPN, PooledGFPN

IN_CHANNELS = [4, 6, 8]
SIZES = [(13, 10), (7, 5), (4, 3)]  # not all twice the next
NUMPY_GATES = {
    'sigmoid': lambda s: 1 / (1 + np.exp(-s)),
    'tanh': np.tanh,
    'square': lambda s: s * s,
    'relu_tanh': lambda s: np.maximum(np.tanh(s), 0),
}


def neck(kind=GFPN, **options):
    torch.manual_seed(0)
    built = kind(IN_CHANNELS, 5, options.pop('num_outs', 3), **options)
    built.init_weights()
    return built


def inputs():
    torch.manual_seed(1)
    return [
        torch.randn(2, c, *size, requires_grad=True)
        for c, size in zip(IN_CHANNELS, SIZES)
    ]


def score(x, gate):
    """Compute sep(x) by loops over the nine taps, depthwise and pointwise."""
    depthwise = gate.sep.depthwise_conv.conv
    pointwise = gate.sep.pointwise_conv.conv
    weight = depthwise.weight.detach().numpy()[:, 0]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros_like(x) + depthwise.bias.detach().numpy()[:, None, None]
    for dy in range(3):
        for dx in range(3):
            out += (
                weight[:, dy, dx, None, None]
                * padded[:, :, dy : dy + x.shape[2], dx : dx + x.shape[3]]
            )
    mixed = np.einsum(
        'oc,nchw->nohw', pointwise.weight.detach().numpy()[..., 0, 0], out
    )
    return mixed + pointwise.bias.detach().numpy()[:, None, None]


def nearest(x, size):
    rows = np.arange(size[0]) * x.shape[2] // size[0]
    columns = np.arange(size[1]) * x.shape[3] // size[1]
    return x[:, :, rows][..., columns]


def test_gradients_pass_through_the_score_and_the_map():
    """Equations 9 and 10: plain differentiation of the product."""
    gfpn = neck().double()
    feats = [x.detach().double().requires_grad_() for x in inputs()]
    assert torch.autograd.gradcheck(
        lambda *maps: gfpn(maps), feats, fast_mode=True
    )


@pytest.mark.parametrize('gate', NUMPY_GATES)
@pytest.mark.parametrize('share_gate', [False, True])
def test_merges_are_equations_1_to_3(gate, share_gate):
    gfpn = neck(gate=gate, share_gate=share_gate)
    for parameter in gfpn.gates.parameters():  # biases too, away from zero
        torch.nn.init.normal_(parameter, std=0.2)
    feats = inputs()
    maps = [
        conv(x).detach().numpy() for conv, x in zip(gfpn.lateral_convs, feats)
    ]
    function = NUMPY_GATES[gate]
    for i in (1, 0):
        module = gfpn.gates[0 if share_gate else i]
        x1, x2 = maps[i], nearest(maps[i + 1], SIZES[i])
        maps[i] = x1 * function(score(x1, module)) + x2 * function(
            score(x2, module)
        )
    for out, conv, merged in zip(gfpn(feats), gfpn.fpn_convs, maps):
        expected = conv(torch.from_numpy(merged))
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-4)


def test_the_example_of_the_docstring():
    (example,) = doctest.DocTestFinder(recurse=False).find(GFPN)
    results = doctest.DocTestRunner().run(example)
    assert results.attempted and not results.failed


def test_gates_are_one_each_or_one_for_all():
    assert len(neck().gates) == 2
    assert len(neck(share_gate=True).gates) == 1


def test_gradients_reach_both_inputs_and_the_shared_convolution():
    gfpn, feats = neck(), inputs()
    gfpn(feats)[0].sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in feats)
    for name, parameter in gfpn.gates.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    'options',
    [
        dict(num_outs=5),
        dict(num_outs=5, add_extra_convs='on_input'),
        dict(num_outs=5, add_extra_convs='on_lateral'),
        dict(
            num_outs=5,
            add_extra_convs='on_output',
            relu_before_extra_convs=True,
        ),
        dict(num_outs=4, add_extra_convs='on_input', start_level=1),
        dict(num_outs=2, end_level=1),
        dict(num_outs=1, start_level=2),
    ],
)
def test_is_fpn_where_the_gates_are_fully_open(options):
    gfpn, fpn = neck(**options), neck(FPN, **options)
    missing, unexpected = gfpn.load_state_dict(fpn.state_dict(), strict=False)
    assert not unexpected
    assert all(key.startswith('gates.') for key in missing)
    for gate in gfpn.gates:
        gate.function = torch.ones_like
    outs, expected = gfpn(inputs()), fpn(inputs())
    assert len(outs) == len(expected)
    for out, reference in zip(outs, expected):
        assert torch.equal(out, reference)


@pytest.mark.parametrize('gate', NUMPY_GATES)
def test_open_gates_start_as_fpn(gate):
    gfpn, fpn = neck(gate=gate, gate_init='open'), neck(FPN)
    gfpn.load_state_dict(fpn.state_dict(), strict=False)
    for out, reference in zip(gfpn(inputs()), fpn(inputs())):
        torch.testing.assert_close(out, reference, atol=0.03, rtol=0.02)
    gfpn(inputs())[0].square().sum().backward()
    pointwise = gfpn.gates[0].sep.pointwise_conv.conv
    assert pointwise.weight.grad.abs().sum() > 0  # open, and free to close


def test_pooled_extra_levels_are_the_caption_of_figure_2():
    gfpn = neck(PooledGFPN, num_outs=5)
    assert len(gfpn.fpn_convs) == 4
    outs = gfpn(inputs())
    assert torch.equal(outs[3], outs[2][..., ::2, ::2])
    assert torch.equal(outs[4], gfpn.fpn_convs[3](outs[3]))
    sum(out.sum() for out in outs).backward()
    assert all(p.grad is not None for p in gfpn.parameters())


@pytest.mark.parametrize(
    'config',
    [
        'retinanet/retinanet_r50_fpn_1x_coco.py',
        'mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    ],
)
def test_takes_the_place_of_fpn_in_a_stock_detector(config):
    register_all_modules()
    cfg = Config.fromfile(f'{mmdet.__path__[0]}/.mim/configs/{config}').model
    cfg.backbone.update(depth=18, base_channels=8, init_cfg=None)
    cfg.neck.update(type='GFPN', in_channels=[8, 16, 32, 64])
    detector = MODELS.build(cfg)
    data = dict(
        inputs=[torch.zeros(3, 128, 128)],
        data_samples=[sample([[10, 10, 60, 60]], [3])],
    )
    losses = detector(
        **detector.data_preprocessor(data, training=True), mode='loss'
    )
    detector.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in detector.neck.gates.parameters())
