"""Why masks are cheap: which tensors are made, instead of timings."""

import tracemalloc

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.structures import InstanceData
from support.helpers import (
    BOX_CONFIG,
    SHAPES_CONFIG,
    pyramid,
    sample,
)
from support.recorder import Recorder

from projects.sprnet import pasting
from projects.sprnet.rle import rle_masks
from projects.sprnet.structures import Features

READING = dict(locations=SHAPES_CONFIG, boxes=BOX_CONFIG)
MODELS_READING = {k: Config.fromfile(v).model for k, v in READING.items()}
MODEL = MODELS_READING['locations']
LEVELS = [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
CELLS = 32 * 32


def spr_head(num_classes=6, reads='locations'):
    """The mask head of the shapes' config."""
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            MODELS_READING[reads].mask_head,
            num_classes=num_classes,
            in_channels=64,
            anchor_generator=MODEL.bbox_head.anchor_generator,
        )
    )


def detections(head, count=100):
    """Detections, some of them behind the same location."""
    torch.manual_seed(0)
    corner = 96 * torch.rand(count, 2)
    return InstanceData(
        bboxes=torch.cat([corner, corner + 32], dim=1),
        labels=torch.arange(count) % head.num_classes,
        locations=torch.arange(count) % 60,
    )


def objects(large, small=0, classes=6):
    """An annotated image, of large objects that fit an anchor and small ones
    that do not."""
    torch.manual_seed(0)
    centre = 32 + 8 * torch.randint(8, (large, 2)) + torch.rand(large, 2)
    corner = 120 * torch.rand(small, 2)
    boxes = torch.cat(
        [
            torch.cat([centre - 16, centre + 16], dim=1),
            torch.cat([corner, corner + 3], dim=1),
        ]
    )
    return sample(boxes.tolist(), [i % classes for i in range(large + small)])


def maps(head, batch=1):
    """The maps that the mask head reads."""
    fine = head.encoder.fine_channels
    return Features(
        tuple(pyramid(LEVELS, batch, channels=64)),
        torch.randn(batch, fine, 32, 32) if fine else None,
    )


@pytest.fixture(params=READING)
def reads(request):
    return request.param


def test_the_mask_branch_convolves_no_map(reads):
    """It convolves at most the grids of boxes."""
    head = spr_head(reads=reads)
    features = maps(head)
    with Recorder() as dense:
        spr_head().encoder.convs[1](features.levels[0]).sum().backward()
    assert dense.convolved == {LEVELS[0]}, 'the recorder sees convolutions'
    with Recorder() as made:
        head.loss(features, [objects(16)])['loss_mask'].backward()
        head.predict(features, [sample([], [])], [detections(head)])
    assert made.sizes
    assert made.convolved == (set() if reads == 'locations' else {(7, 7)})


def in_prediction(num_classes, reads):
    head = spr_head(num_classes, reads)
    features = maps(head)
    with torch.no_grad(), Recorder() as made:
        head.predict(features, [sample([], [])], [detections(head)])
    return made


def in_loss(num_classes, reads):
    head = spr_head(num_classes, reads)
    features = maps(head)
    with Recorder() as made:
        head.loss(features, [objects(16, classes=num_classes)])
    return made


@pytest.mark.parametrize('task', [in_prediction, in_loss])
def test_tensors_do_not_depend_on_the_number_of_classes(task, reads):
    one, coco, lvis = (task(count, reads) for count in (1, 80, 1203))
    assert one.sizes == coco.sizes == lvis.sizes
    assert one.peak == coco.peak == lvis.peak
    assert max(coco.sizes) < 60 * 80 * CELLS  # a map for each class


def test_the_largest_maps_are_made_in_parts():
    head = spr_head()
    embeddings = torch.randn(100, head.encoder.out_channels)
    with torch.no_grad(), Recorder() as made:
        head.decoder(embeddings, torch.arange(100) % 6)
    channels = head.decoder.classifier.in_channels
    # The maps of half the side are made at once.
    assert max(made.sizes) == len(embeddings) * CELLS // 4 * channels


def test_gradients_grow_with_the_masks_and_not_with_their_square():
    head, made = spr_head(), {}
    for count in (100, 200):
        embeddings = torch.randn(count, head.encoder.out_channels)
        embeddings.requires_grad_()
        with Recorder() as recorder:
            head.decoder(embeddings, torch.arange(count) % 6).sum().backward()
        made[count] = sum(recorder.sizes)
    assert made[200] < 2.01 * made[100]


def test_run_lengths_never_stand_in_an_image():
    height, width = 4000, 6000
    torch.manual_seed(0)
    sides = torch.cat([20 + 280 * torch.rand(97, 2), 2500 * torch.ones(2, 2)])
    corner = torch.rand(99, 2) * torch.tensor([width, height])
    boxes = torch.cat([corner - sides / 2, corner + sides / 2], dim=1)
    whole = torch.tensor([[0.0, 0, width, height]])
    probabilities = torch.rand(100, 32, 32)
    tracemalloc.start()
    with Recorder() as made:
        rles = rle_masks(
            probabilities, torch.cat([boxes, whole]), (height, width), 0.5
        )
    arrays = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rles) == 100
    assert max(made.sizes) <= pasting.ON_CPU_AT_ONCE
    assert made.peak + arrays < 100 * 2**20


def test_windows_are_hardly_larger_than_their_boxes():
    """Even if they are long, thin, and lie or stand."""
    torch.manual_seed(0)
    start = 900 * torch.rand(100, 2)
    sides = torch.tensor([[1000.0, 3], [3, 1000]]).repeat(50, 1)
    boxes = torch.cat([start, start + sides], dim=1)
    with Recorder() as made:
        rle_masks(torch.rand(100, 32, 32), boxes, (2000, 2000), 0.5)
    area = 100 * 1000 * 3
    # The rest are weights of 32 cells for each row and column.
    assert sum(made.sizes) < 10 * (area + 100 * 32 * 1003)


def test_a_gpu_pastes_in_parts(monkeypatch):
    monkeypatch.setattr(pasting, 'ON_GPU_AT_ONCE', 2 * 400 * 500)
    boxes = torch.tensor([[10.0, 20, 300, 350]]).repeat(100, 1)
    with Recorder() as made:
        pasting.paste_together(
            torch.rand(100, 32, 32), [boxes], [(400, 500)], 0.5
        )
    masks, *others = sorted(made.sizes, reverse=True)
    assert masks == 100 * 400 * 500
    assert others[0] == pasting.ON_GPU_AT_ONCE


def in_training(annotated, reads='locations'):
    """Record the loss and its gradients, and count the masks that train."""
    head = spr_head(reads=reads)
    features = maps(head)
    head.sampler.max_locations = head.sampler.max_boxes = 30
    counts = []
    head.register_forward_hook(lambda m, args, out: counts.append(len(out)))
    with Recorder() as made:
        head.loss(features, [annotated])['loss_mask'].backward()
    return made, *counts


def test_losses_do_not_depend_on_objects_without_locations():
    few, locations = in_training(objects(16))
    assert 10 < locations < 30
    for small in (144, 1984):  # multiples of BOXES_AT_ONCE
        many, same = in_training(objects(16, small))
        assert same == locations
        # Beside a few numbers for each object
        assert set(many.sizes) <= set(few.sizes) | {16 + small}
        assert many.peak <= 1.001 * few.peak


def test_losses_do_not_depend_on_the_number_of_objects(reads):
    """There is no matrix of objects and anchors, and no unused target."""
    few, masks = in_training(objects(64), reads)
    assert masks == 30
    for large in (640, 1984):
        many, masks = in_training(objects(large), reads)
        assert masks == 30
        assert max(many.sizes) == max(few.sizes)
        assert many.peak <= 1.05 * few.peak
