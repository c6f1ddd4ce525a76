"""A rank of soak/ranks.py: one training step on an image of its own size.

python -m torch.distributed.run --nproc-per-node N rank_step.py OUT
"""

import sys
from pathlib import Path

sys.path[:0] = map(str, (Path(__file__).parents[1], Path(__file__).parents[2]))

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from support.helpers import build_model, sample  # noqa: E402
from support.two_ranks import step  # noqa: E402

SIZES = [(128, 128), (96, 160), (64, 64), (192, 128)]
BOXES = [
    [[24, 24, 56, 56], [48, 48, 112, 112]],
    [],
    [[8, 8, 56, 56]],
    [[30, 100, 90, 180], [4, 4, 60, 40], [60, 20, 120, 80]],
]


def model_and_data():
    """A model with fixed batch norms, and an image for each of four ranks.

    The images differ in size; the second one has no objects.
    """
    model = build_model(**{'backbone.norm_eval': True}).train()
    torch.manual_seed(5)
    images = [torch.randn(1, 3, *size) for size in SIZES]
    samples = [
        sample(boxes, list(range(len(boxes))), size)
        for boxes, size in zip(BOXES, SIZES)
    ]
    return model, images, samples


if __name__ == '__main__':
    step(*model_and_data(), Path(sys.argv[1]))
    dist.destroy_process_group()
