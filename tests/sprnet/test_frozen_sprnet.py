import pytest
import torch
from support.helpers import CONFIGS, OBJECTS, build_model, sample
from torch.optim import AdamW

FROZEN = CONFIGS / 'frozen_detector'
READING = [
    FROZEN / 'sprnet_r18_fpn_frozen_shapes.py',
    FROZEN / 'sprnet_r18_gfpn_plus-box_frozen_shapes.py',
]


@pytest.fixture(params=READING, ids=['locations', 'boxes'])
def model(request):
    return build_model(request.param).train()


def test_training_changes_the_mask_head_and_nothing_else(model):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    images = torch.randn(2, 3, 128, 128)
    samples = [sample(OBJECTS[:2], [0, 3]), sample(OBJECTS[1:2], [2])]
    for _ in range(2):
        losses = model.loss(images, samples)
        assert set(losses) == {'loss_mask'}
        optimizer.zero_grad()
        losses['loss_mask'].backward()
        optimizer.step()
    for key, value in model.state_dict().items():
        same = torch.equal(before[key], value)
        assert same != key.startswith('mask_head.'), key


def test_the_detector_stays_in_test_mode(model):
    modes = {name: part.training for name, part in model.named_children()}
    assert modes.pop('mask_head')
    assert not any(modes.values())
    assert not model.eval().mask_head.training


def test_only_the_mask_head_asks_for_gradients(model):
    """Distributed training waits for the gradients of all that ask."""
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == name.startswith('mask_head.'), name
