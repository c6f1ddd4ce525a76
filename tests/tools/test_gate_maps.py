"""tools/gate_maps.py: its scores, their colours, its pictures."""

from common import gates
from common.configs import load_config, load_model

import gate_maps
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.helpers import CONFIGS, SHAPES_CONFIG, build_model
from support.in_process import (
    ANY_CHECKPOINT,
    complaint,
    is_picture,
    run_command,
    save_checkpoint,
    val_images,
)

from projects.sprnet.gfpn import GATE_FUNCTIONS, Gate, GateFunction


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp('checkpoint')
    return save_checkpoint(build_model(), folder / 'untrained.pth')


def test_scores_are_those_of_the_gates(checkpoint, shapes):
    model = load_model(load_config(SHAPES_CONFIG, {}), checkpoint, 'cpu')
    backbone_maps = []
    handle = model.backbone.register_forward_hook(
        lambda _, __, maps: backbone_maps.extend(maps)
    )
    finer, coarser = gates.score_maps(model, val_images(shapes)[0])
    handle.remove()
    assert (finer.level, coarser.level) == (3, 4)
    # The input has 192 pixels, so the image's 96 are the whole map.
    assert finer.extent == coarser.extent == (96, 96)

    neck = model.neck
    with torch.no_grad():
        x3, x4, x5 = (
            conv(x) for conv, x in zip(neck.lateral_convs, backbone_maps[1:])
        )
        p3_gate, p4_gate = (gate.sep for gate in neck.gates)
        x5 = F.interpolate(x5, size=x4.shape[2:])
        merged = x4 * p4_gate(x4).sigmoid() + x5 * p4_gate(x5).sigmoid()
        merged = F.interpolate(merged, size=x3.shape[2:])
        for scores, logits in (
            (finer.own, p3_gate(x3)),
            (finer.above, p3_gate(merged)),
            (coarser.own, p4_gate(x4)),
            (coarser.above, p4_gate(x5)),
        ):
            expected = logits.sigmoid()[0].mean(0).numpy()
            np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize('name', GATE_FUNCTIONS)
def test_limits_of_a_gate_are_the_ends_of_its_values(name):
    gate = Gate(2, name, 'learned')
    values = gate.function(torch.linspace(-9, 9, 181))
    low, high = gate.limits
    assert low <= values.min() < low + 0.01
    if high is None:
        assert values.max() > 80
    else:
        assert high - 0.01 < values.max() <= high


def colour_ends(figure):
    """The ends of each score map's colours."""
    maps = [ax.images[1] for ax in figure.axes if len(ax.images) == 2]
    return [image.get_clim() for image in maps]


def test_colours_of_unlimited_scores_end_at_the_largest():
    scores = np.arange(6.0).reshape(2, 3)
    merges = [gates.Merge(3, scores, 2 * scores, (6, 4))] * 2
    figure = gates.draw(np.zeros((4, 6, 3), np.uint8), merges, (0, None))
    assert colour_ends(figure) == [(0, 10)] * 4


def test_draws_every_image(checkpoint, shapes, tmp_path):
    images = val_images(shapes)[:2]
    arguments = SHAPES_CONFIG, checkpoint, *images, '--out-dir', tmp_path
    run_command(gate_maps, *arguments)
    for image in images:
        assert is_picture(tmp_path / f'{image.stem}.png')


def test_a_new_gate_function_is_drawn(
    checkpoint, shapes, tmp_path, monkeypatch
):
    new = GateFunction(F.softsign, 99.0, (-1, 1))
    monkeypatch.setitem(GATE_FUNCTIONS, 'softsign', new)
    config = tmp_path / 'softsign.py'
    config.write_text(
        f'_base_ = {str(SHAPES_CONFIG)!r}\n'
        "model = dict(neck=dict(gate='softsign'))\n"
    )
    figures = []

    def draw(*args):
        figures.append(gates.draw(*args))
        return figures[-1]

    monkeypatch.setattr(gate_maps, 'draw', draw)
    image = val_images(shapes)[0]
    run_command(gate_maps, config, checkpoint, image, '--out-dir', tmp_path)
    assert is_picture(tmp_path / f'{image.stem}.png')
    assert colour_ends(figures[0]) == [(-1, 1)] * 4


def test_wrong_input_ends_in_one_sentence(checkpoint, shapes, tmp_path):
    image = val_images(shapes)[0]
    empty = tmp_path / 'empty'
    empty.mkdir()
    namesake = tmp_path / image.name
    namesake.write_bytes(image.read_bytes())
    fpn_config = CONFIGS / 'sprnet_r18_fpn_shapes.py'
    for arguments, words in (
        (
            [fpn_config, checkpoint, image, '--cfg-options', ANY_CHECKPOINT],
            'FPN has no gates',
        ),
        ([fpn_config, checkpoint, image], 'has besides neck.gates.0'),
        (['no.py', checkpoint, image], 'no.py does not exist'),
        ([image, checkpoint, image], 'Only py/yml/yaml/json'),
        ([SHAPES_CONFIG, image, image], 'checkpoint was refused'),
        ([SHAPES_CONFIG, checkpoint, empty], f'{empty} has no images'),
        ([SHAPES_CONFIG, checkpoint, image, namesake], 'the same name'),
    ):
        out = ['--out-dir', tmp_path / 'out']
        assert words in complaint(gate_maps, *arguments, *out)
