from common.configs import load_config, load_model

import pytest
import torch
from support.helpers import SHAPES_CONFIG, build_model

from projects.sprnet.runtime.checkpoint_match import find_mismatch

CLASSES = ('ellipse', 'triangle', 'rectangle', 'star', 'cross', 'ring')


def saved(file, change=lambda state: None, classes=CLASSES):
    state = build_model().state_dict()
    change(state)
    meta = dict(dataset_meta=dict(classes=classes))
    torch.save(dict(state_dict=state, meta=meta), file)
    return file


def load(file, **options):
    return load_model(load_config(SHAPES_CONFIG, options), file, 'cpu')


def without_gates(state):
    for key in [k for k in state if '.gates.' in k]:
        del state[key]


def with_more(state):
    state['neck.extra.weight'] = torch.zeros(3)


def of_7_classes(state):
    state['bbox_head.retina_cls.bias'] = torch.zeros(63)


@pytest.mark.parametrize(
    'change,classes,words',
    [
        (without_gates, CLASSES, 'it lacks neck.gates.0.*and 5 more'),
        (with_more, CLASSES, 'it has besides neck.extra.weight'),
        (of_7_classes, CLASSES, 'another size bbox_head.retina_cls.bias'),
        (lambda s: None, CLASSES[::-1], "trained for the classes .'ring'"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    change, classes, words, tmp_path
):
    file = saved(tmp_path / 'other.pth', change, classes)
    with pytest.raises(ValueError, match=f'other.pth is not .*{words}'):
        load(file)
    assert load(file, **{'default_hooks.checkpoint_match.refuse': False})


def test_a_models_own_checkpoint_is_not_refused(tmp_path):
    assert load(saved(tmp_path / 'own.pth'))
    model = build_model()
    assert find_mismatch(model, model.state_dict(), None) == ''
