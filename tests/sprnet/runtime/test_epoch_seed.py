from types import SimpleNamespace

import numpy as np
import torch

from projects.sprnet.runtime import EpochSeedHook


def drawn(seed, epoch):
    """Numbers that the first rank draws in an epoch."""
    sampler = SimpleNamespace()
    runner = SimpleNamespace(
        seed=seed,
        epoch=epoch,
        train_dataloader=SimpleNamespace(
            batch_sampler=SimpleNamespace(sampler=sampler)
        ),
    )
    EpochSeedHook().before_train_epoch(runner)
    assert sampler.seed == seed
    return torch.rand(1).item(), np.random.rand()


def test_numbers_depend_on_seed_and_epoch_alone():
    first = drawn(3, 0)
    torch.rand(5)
    assert drawn(3, 0) == first
    for seed, epoch in ((3, 1), (4, 0)):
        other = drawn(seed, epoch)
        assert other[0] != first[0] and other[1] != first[1]
