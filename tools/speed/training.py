"""Time of a training step, and the data that it trains on."""

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from torch import nn

from .clock import seconds
from .subjects import Subject

OBJECTS = 20  # in each training image


def random_boxes(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """Random boxes within an image, (count, 4) float32 as x1, y1, x2, y2.

    Their sides are log-uniform between 16 pixels and half of the image's.
    """
    rng = np.random.default_rng(seed)
    sides = np.exp(
        rng.uniform(
            np.log(16), np.log([width / 2, height / 2]), size=(count, 2)
        )
    )
    corner = rng.uniform(0, [width, height] - sides)
    return np.concatenate([corner, corner + sides], 1).astype(np.float32)


def polygons(boxes: np.ndarray) -> list[list[np.ndarray]]:
    """Polygons of 16 corners for the ellipses that fill the boxes."""
    angles = np.arange(16) * np.pi / 8
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    return [
        [((circle + 1) / 2 * (box[2:] - box[:2]) + box[:2]).ravel()]
        for box in boxes
    ]


def annotated(
    height: int, width: int, objects: int, classes: int, seed: int
) -> DetDataSample:
    """Random annotations of a training image, with polygons as masks."""
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


def training_batch(
    size: tuple[int, int], batch: int, objects: int = OBJECTS
) -> dict[str, list]:
    """A batch of noise with objects of one class in each image.

    Masks are bitmaps, as MMDetection's COCO pipelines load them.

    Args:
        size: height and width of the images.
        batch: number of images.
        objects: number of objects of each image.
    """
    height, width = size
    generator = torch.Generator().manual_seed(0)
    samples = []
    for seed in range(batch):
        sample = annotated(height, width, objects, 1, seed)
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
    """SGD as in MMDetection's 1x schedule, but it hardly changes the model."""
    return OptimWrapper(
        torch.optim.SGD(
            model.parameters(), lr=1e-9, momentum=0.9, weight_decay=1e-4
        )
    )


def step_seconds(
    subject: Subject,
    wrapper: OptimWrapper,
    size: tuple[int, int],
    batch: int,
    objects: int = OBJECTS,
) -> dict[str, float]:
    """Seconds of a training step.

    Args:
        subject: the model.
        wrapper: its :func:`optimizer`.
        size: height and width of the images.
        batch: number of images.
        objects: number of objects of each image.

    Returns:
        ``forward``, ``backward`` with the optimizer's step, and ``step``, the
        sum of both.
    """
    model = subject.model.train()
    data = training_batch(size, batch, objects)
    losses = []

    def forward() -> None:
        with wrapper.optim_context(model):
            inputs = model.data_preprocessor(data, True)
            losses.append(model(**inputs, mode='loss'))

    def backward() -> None:
        wrapper.update_params(model.parse_losses(losses[0])[0])

    times = dict(
        forward=seconds(forward, subject.device),
        backward=seconds(backward, subject.device),
    )
    model.eval()
    return dict(times, step=sum(times.values()))
