"""Time of a training step, forward and backward apart."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from torch import nn

from .clock import in_turns, seconds
from .subjects import Subject

OBJECTS = 20  # of a training image


def random_boxes(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """(count, 4) boxes within the image, of sides of 16 pixels to half of its
    own, evenly by logarithm."""
    rng = np.random.default_rng(seed)
    sides = np.exp(
        rng.uniform(
            np.log(16), np.log([width / 2, height / 2]), size=(count, 2)
        )
    )
    corner = rng.uniform(0, [width, height] - sides)
    return np.concatenate([corner, corner + sides], 1).astype(np.float32)


def polygons(boxes: np.ndarray) -> list[list[np.ndarray]]:
    """An ellipse of 16 corners for each box."""
    angles = np.arange(16) * np.pi / 8
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    return [
        [((circle + 1) / 2 * (box[2:] - box[:2]) + box[:2]).ravel()]
        for box in boxes
    ]


def annotated(
    height: int, width: int, objects: int, classes: int, seed: int
) -> DetDataSample:
    """A training image's annotations, its masks as polygons."""
    boxes = random_boxes(objects, height, width, seed)
    labels = np.random.default_rng(seed).integers(classes, size=objects)
    sample = DetDataSample(
        metainfo=dict(
            img_id=seed,
            ori_shape=(height, width),
            img_shape=(height, width),
            pad_shape=(height, width),
            batch_input_shape=(height, width),
            scale_factor=(1.0, 1.0),
        )
    )
    sample.gt_instances = InstanceData(
        bboxes=torch.from_numpy(boxes),
        labels=torch.from_numpy(labels),
        masks=PolygonMasks(polygons(boxes), height, width),
    )
    sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4))
    return sample


def training_batch(size: tuple[int, int], batch: int) -> dict[str, list]:
    """Images of noise, (height, width), with ``OBJECTS`` objects of one class
    each, their masks as pixels, as MMDetection's COCO pipelines load them."""
    height, width = size
    generator = torch.Generator().manual_seed(0)
    samples = []
    for seed in range(batch):
        sample = annotated(height, width, OBJECTS, 1, seed)
        masks = sample.gt_instances.masks
        sample.gt_instances.masks = BitmapMasks(
            masks.to_ndarray(), height, width
        )
        samples.append(sample)
    images = torch.randint(
        256, (batch, 3, height, width), generator=generator, dtype=torch.uint8
    )
    return dict(inputs=list(images), data_samples=samples)


def optimizer(model: nn.Module) -> OptimWrapper:
    """SGD as of MMDetection's 1x schedule, too small to change the model."""
    return OptimWrapper(
        torch.optim.SGD(
            model.parameters(), lr=1e-9, momentum=0.9, weight_decay=1e-4
        )
    )


def step(
    subject: Subject, wrapper: OptimWrapper, size: tuple[int, int], batch: int
) -> tuple[float, float]:
    """Seconds forward, and backward with the optimizer's step."""
    model = subject.model.train()
    data = training_batch(size, batch)
    losses = []

    def forward() -> None:
        with wrapper.optim_context(model):
            inputs = model.data_preprocessor(data, True)
            losses.append(model(**inputs, mode='loss'))

    def backward() -> None:
        wrapper.update_params(model.parse_losses(losses[0])[0])

    times = tuple(seconds(run, subject.device) for run in (forward, backward))
    model.eval()
    return times


def training(
    subjects: Sequence[Subject],
    size: tuple[int, int],
    rounds: int,
    report: Callable[[str], None],
    batch: int = 2,
) -> dict[str, dict[str, list[float]]]:
    """Seconds ``forward``, ``backward`` and in all, ``step``, by round."""
    wrappers = {s.name: optimizer(s.model) for s in subjects}
    found = in_turns(
        {
            s.name: lambda s=s: step(s, wrappers[s.name], size, batch)
            for s in subjects
        },
        rounds,
        report,
        warm_up=1,
    )
    return {
        name: dict(
            forward=[forward for forward, _ in values],
            backward=[backward for _, backward in values],
            step=[sum(both) for both in values],
        )
        for name, values in found.items()
    }
