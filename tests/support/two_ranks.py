"""Run one training step of each config on each rank and save its results in
a folder, for test_ranks.py.

python -m torch.distributed.run --nproc-per-node 2 two_ranks.py CONFIG=OUT ...
"""

import sys
from pathlib import Path

sys.path[:0] = map(str, (Path(__file__).parents[1], Path(__file__).parents[2]))

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from mmengine.model import MMDistributedDataParallel  # noqa: E402
from support.helpers import (  # noqa: E402
    OBJECTS,
    SHAPES_CONFIG,
    build_model,
    sample,
)


def model_and_data(config: Path):
    """Return a model with fixed batch norms, and an image for each of two
    ranks: one with three objects, one with none."""
    options = {'backbone.norm_eval': True}
    if config != SHAPES_CONFIG:  # no random shifts of boxes
        options['mask_head.sampler.std'] = 0.0
    model = build_model(config, **options).train()
    torch.manual_seed(5)
    images = torch.randn(2, 3, 128, 128)
    samples = [
        sample(OBJECTS, [0, 3, 5]),
        sample([], []),
    ]
    return model, images, samples


def step(model, images, samples, out: Path) -> None:
    """Train this rank on its own image (1, 3, H, W) and save gradients,
    weights and mask loss."""
    if not dist.is_initialized():
        dist.init_process_group('gloo')
    rank = dist.get_rank()
    wrapped = MMDistributedDataParallel(model, device_ids=None)
    losses = wrapped(images[rank], [samples[rank]], mode='loss')
    model.parse_losses(losses)[0].backward()
    grads = {k: p.grad.clone() for k, p in model.named_parameters()}
    torch.optim.SGD(model.parameters(), lr=0.01).step()
    torch.save(
        dict(
            grads=grads,
            weights=model.state_dict(),
            loss_mask=losses['loss_mask'].detach(),
        ),
        out / f'rank{rank}.pth',
    )


if __name__ == '__main__':
    for argument in sys.argv[1:]:
        config, out = map(Path, argument.split('='))
        model, images, samples = model_and_data(config)
        step(model, images.split(1), samples, out)
    dist.destroy_process_group()
