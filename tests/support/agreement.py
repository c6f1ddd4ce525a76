"""Models whose random weights leave no near-ties, and how far results differ.

Two devices round differently. Scores that nearly tie may change places, and a
box that overlaps another one by nearly NMS's threshold may appear on one
device only. So detections are matched first, and matched ones are compared.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor, nn

from .helpers import build_model, sample

# Layers of scores and boxes, and the standard deviation that their outputs get
LAYERS = {
    'bbox_head.retina_cls': 1.5,
    'bbox_head.atss_cls': 1.5,
    'bbox_head.gfl_cls': 1.5,
    'bbox_head.conv_cls': 1.5,
    'rpn_head.rpn_cls': 1.5,
    'roi_head.bbox_head.fc_cls': 1.5,
    'bbox_head.retina_reg': 0.3,
    'bbox_head.atss_reg': 0.3,
    'bbox_head.conv_reg': 0.3,
    'rpn_head.rpn_reg': 0.3,
    'roi_head.bbox_head.fc_reg': 0.3,
}
# The last layers of masks, and the standard deviation of their weights
MASK_LAYERS = {
    'roi_head.mask_head.conv_logits': 0.5,
    'mask_head.decoder.classifier': 0.5,
}


def spread_weights(model: nn.Module) -> nn.Module:
    """Give a model scores, boxes and masks of all kinds."""
    torch.manual_seed(3)
    outputs: dict[str, list[Tensor]] = {name: [] for name in LAYERS}
    modules, handles = dict(model.named_modules()), []
    for name in modules.keys() & MASK_LAYERS.keys():
        nn.init.normal_(modules[name].weight, std=MASK_LAYERS[name])
    for name in modules.keys() & LAYERS.keys():
        keep = outputs[name].append
        handles.append(
            modules[name].register_forward_hook(
                lambda _, __, output, keep=keep: keep(output.flatten())
            )
        )
    predict(model)
    for handle in handles:
        handle.remove()
    for name, seen in outputs.items():
        if seen:
            modules[name].weight.data *= LAYERS[name] / torch.cat(seen).std()
    if 'bbox_head.conv_reg' in modules:  # FCOS's logarithms of pixels
        nn.init.constant_(modules['bbox_head.conv_reg'].bias, 3)
    return model


def pair_of(
    config: Path, device: torch.device, **options
) -> tuple[nn.Module, nn.Module]:
    """A config's model on the CPU, and a copy of it on a device."""
    model = spread_weights(build_model(config, **options))
    return model, copy.deepcopy(model).to(device)


def batch() -> dict[str, list]:
    """A batch of two images of noise, of different sizes; one has objects."""
    generator = torch.Generator().manual_seed(5)
    images, samples = [], []
    for size, boxes in (
        ((128, 128), [[24, 24, 56, 56], [48, 48, 112, 112]]),
        ((96, 160), []),
    ):
        noise = torch.rand(3, size[0] // 8, size[1] // 8, generator=generator)
        smooth = nn.functional.interpolate(
            noise[None], size, mode='bilinear', align_corners=False
        )[0]
        images.append((smooth * 255).to(torch.uint8))
        samples.append(sample(boxes, list(range(len(boxes))), size))
        samples[-1].set_metainfo(dict(flip=False, flip_direction=None))
    return dict(inputs=images, data_samples=samples)


def predict(model: nn.Module) -> list[InstanceData]:
    """The model's detections in :func:`batch`, on the CPU."""
    with torch.no_grad():
        results = model.eval().test_step(batch())
    return [on_cpu(result) for result in results]


def on_cpu(result: DetDataSample) -> InstanceData:
    """The detections of a result, on the CPU."""
    return result.pred_instances.cpu()


class Agreement(NamedTuple):
    """How well the detections of two devices agree."""

    matched: float  # least share of an image's detections with a partner
    box: float  # largest difference of partners' boxes, in pixels
    score: float  # largest difference of partners' scores
    mask: float  # share of the pixels in a mask of either that differ


def agreement(
    one: list[InstanceData],
    other: list[InstanceData],
    box: float = 0.05,
    score: float = 1e-3,
) -> Agreement:
    """Match detections of equal labels whose boxes and scores nearly agree.

    Args:
        one, other: Detections of each image.
        box: Partners' largest difference of an edge, in pixels.
        score: Partners' largest difference of scores.
    """
    shares, boxes, scores, differing, covered = [], [0.0], [0.0], 0, 0
    for a, b in zip(one, other):
        first, second = partners(a, b, box, score)
        shares.append(len(first) / max(len(a), len(b), 1))
        a, b = a[first], b[second]
        if len(first):
            boxes.append((a.bboxes - b.bboxes).abs().max().item())
            scores.append((a.scores - b.scores).abs().max().item())
        if 'masks' in a:
            differing += (a.masks ^ b.masks).sum().item()
            covered += (a.masks | b.masks).sum().item()
    return Agreement(
        min(shares), max(boxes), max(scores), differing / max(covered, 1)
    )


def partners(
    a: InstanceData, b: InstanceData, box: float, score: float
) -> tuple[Tensor, Tensor]:
    """Indices of a's detections with a partner, and the partners in b."""
    if not len(a) or not len(b):
        none = torch.zeros(0, dtype=torch.long)
        return none, none
    far = (a.bboxes[:, None] - b.bboxes).abs().amax(dim=2)
    apart = (a.scores[:, None] - b.scores).abs() > score
    far[apart | (a.labels[:, None] != b.labels)] = torch.inf
    distance, partner = far.min(dim=1)
    found = distance < box
    return found.nonzero()[:, 0], partner[found]


def loss_and_gradients(
    model: nn.Module,
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Losses of a training step, and the gradients of each part of a model."""
    model.train()
    torch.manual_seed(7)
    data = model.data_preprocessor(batch(), True)
    total, losses = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    return (
        {name: loss.item() for name, loss in losses.items()},
        {name: gradient.cpu() for name, gradient in part_gradients(model)},
    )


def part_gradients(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The gradients of backbone, neck and heads, each as one vector."""
    for name, part in model.named_children():
        grads = [p.grad for p in part.parameters() if p.grad is not None]
        if grads:
            yield name, torch.cat([grad.flatten() for grad in grads])


def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Largest relative distance of the parts' gradients."""
    assert one.keys() == other.keys()
    return max(
        ((one[name] - other[name]).norm() / one[name].norm()).item()
        for name in one
    )
