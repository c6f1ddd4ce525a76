import subprocess
import sys

import pytest
import torch
from launch import free_port
from support.helpers import BOX_CONFIG, ROOT, SHAPES_CONFIG
from support.two_ranks import model_and_data

SCRIPT = ROOT / 'tests' / 'support' / 'two_ranks.py'


CONFIGS = dict(locations=SHAPES_CONFIG, boxes=BOX_CONFIG)


@pytest.fixture(scope='module', params=CONFIGS)
def name(request):
    return request.param


@pytest.fixture(scope='module')
def config(name):
    return CONFIGS[name]


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    """The folder with the results of two gloo ranks for each config; the
    image of the second rank has no object."""
    out = tmp_path_factory.mktemp('ranks')
    launch = [sys.executable, '-m', 'torch.distributed.run']
    launch += ['--nproc-per-node=2', f'--master-port={free_port()}', SCRIPT]
    for name in CONFIGS:
        (out / name).mkdir()
    arguments = [f'{config}={out / name}' for name, config in CONFIGS.items()]
    subprocess.run([*launch, *arguments], check=True, timeout=300)
    return out


@pytest.fixture(scope='module')
def ranks(results, name):
    return [torch.load(results / name / f'rank{r}.pth') for r in range(2)]


def mask_loss(model, images, samples):
    return model(images, samples, mode='loss')['loss_mask']


def gradients(config, *losses):
    """Gradients of the sum of losses, by weight."""
    model, images, samples = model_and_data(config)
    total = sum(loss(model, images, samples) for loss in losses)
    total.backward()
    return {k: p.grad for k, p in model.named_parameters()}


def test_both_ranks_end_in_the_same_weights(ranks):
    first, second = (rank['weights'] for rank in ranks)
    for key in first:
        assert torch.equal(first[key], second[key]), key
    assert ranks[0]['loss_mask'] > 0 and ranks[1]['loss_mask'] == 0


def test_mask_gradients_are_those_of_the_joined_batch(ranks, config):
    """Because the loss counts the masks of all ranks together."""
    expected = gradients(config, mask_loss)
    for key, grad in ranks[0]['grads'].items():
        if key.startswith('mask_head.'):
            torch.testing.assert_close(
                grad, expected[key], atol=1e-6, rtol=1e-4
            )


def test_all_gradients_are_the_masks_jointly_and_the_boxes_by_rank(
    ranks, config
):
    """The mask loss is that of the joined batch. The stock RetinaHead divides
    box losses by the rank's own number of positive anchors, so their gradient
    is a mean over ranks."""

    def box_losses(model, images, samples):
        total = 0
        for rank in range(2):
            losses = model(
                images[rank : rank + 1], samples[rank : rank + 1], mode='loss'
            )
            del losses['loss_mask']
            total = total + model.parse_losses(losses)[0] / 2
        return total

    expected = gradients(config, mask_loss, box_losses)
    for key, grad in ranks[0]['grads'].items():
        torch.testing.assert_close(
            grad, expected[key], atol=1e-5, rtol=1e-3, msg=key
        )
