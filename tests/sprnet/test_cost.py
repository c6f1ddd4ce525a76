"""What makes the masks cheap, without timing it: which tensors are made."""

import tracemalloc

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.structures import InstanceData
from support.helpers import BOX_CONFIG, SHAPES_CONFIG, pyramid, sample
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from projects.sprnet.detections import candidate_pixels
from projects.sprnet.pasting import PIXELS_AT_ONCE
from projects.sprnet.pixels import _candidates, _likely
from projects.sprnet.rle import rle_masks

READING = dict(pixels=SHAPES_CONFIG, boxes=BOX_CONFIG)
MODELS_READING = {k: Config.fromfile(v).model for k, v in READING.items()}
MODEL = MODELS_READING['pixels']
LEVELS = [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
CELLS = 32 * 32


class Made(TorchDispatchMode):
    """Notes what is called and what memory that takes.

    ``convolved`` are the heights and widths of what convolutions and their
    gradients were given; ``sizes`` the elements of every tensor that is not a
    view of another, in order; ``peak`` the most bytes that they held at a
    time.
    """

    def __init__(self):
        super().__init__()
        self.convolved, self.sizes = set(), []
        self.held, self.peak = {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if 'convolution' in str(function):
            self.convolved.add(tuple(args[0].shape[2:]))
        given = {ref for ref, _ in self._storages((args, kwargs))}
        self.held = {r: n for r, n in self.held.items() if not r.expired()}
        for ref, tensor in self._storages(out):
            if ref not in given:
                self.held[ref] = tensor.untyped_storage().nbytes()
                self.sizes.append(self.held[ref] // tensor.element_size())
        self.peak = max(self.peak, sum(self.held.values()))
        return out

    @staticmethod
    def _storages(tree):
        return [
            (StorageWeakRef(x.untyped_storage()), x)
            for x in tree_leaves(tree)
            if isinstance(x, torch.Tensor)
        ]


def spr_head(num_classes=6, reads='pixels'):
    """The SPRHead of the shapes."""
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            MODELS_READING[reads].mask_head,
            num_classes=num_classes,
            in_channels=64,
            anchor_generator=MODEL.bbox_head.anchor_generator,
        )
    )


def detections(head, count=100, pixels=60):
    """As a box head gives them, of so many different pixels."""
    torch.manual_seed(0)
    corner = 96 * torch.rand(count, 2)
    return InstanceData(
        bboxes=torch.cat([corner, corner + 32], dim=1),
        labels=torch.arange(count) % head.num_classes,
        pixels=torch.arange(count) % pixels,
    )


def objects(large, small=0, classes=6):
    """An annotated image: of large objects that an anchor each fits, and small
    ones that no anchor does."""
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
    """What an SPRHead of the shapes reads: a pyramid, and the backbone's
    first map if it asks for that."""
    feats = pyramid(LEVELS, batch, channels=64)
    fine = head.encoder.fine_channels
    return [*feats, torch.randn(batch, fine, 32, 32)] if fine else feats


@pytest.fixture(params=READING)
def reads(request):
    return request.param


def test_the_mask_branch_convolves_no_map(reads):
    """At most the grids of boxes."""
    feats = pyramid(LEVELS, batch=1, channels=64)
    with Made() as dense:
        spr_head().encoder.convs[1](feats[0]).sum().backward()
    assert dense.convolved == {LEVELS[0]}, 'this could tell'
    head = spr_head(reads=reads)
    feats = maps(head)
    with Made() as made:
        head.loss(feats, [objects(16)])['loss_mask'].backward()
        head.predict(feats, [sample([], [])], [detections(head)])
    assert made.sizes
    assert made.convolved == (set() if reads == 'pixels' else {(7, 7)})


def in_prediction(num_classes, reads):
    head = spr_head(num_classes, reads)
    feats = maps(head)
    with torch.no_grad(), Made() as made:
        head.predict(feats, [sample([], [])], [detections(head)])
    return made


def in_loss(num_classes, reads):
    head = spr_head(num_classes, reads)
    feats = maps(head)
    with Made() as made:
        head.loss(feats, [objects(16, classes=num_classes)])
    return made


@pytest.mark.parametrize('task', [in_prediction, in_loss])
def test_tensors_do_not_depend_on_the_number_of_classes(task, reads):
    one, coco, lvis = (task(count, reads) for count in (1, 80, 1203))
    assert one.sizes == coco.sizes == lvis.sizes
    assert one.peak == coco.peak == lvis.peak
    assert max(coco.sizes) < 60 * 80 * CELLS  # of one for each class


@pytest.mark.parametrize('count,pixels', [(100, 60), (100, 1), (100, 100)])
def test_a_pixel_is_encoded_and_decoded_once(count, pixels):
    head, feats = spr_head(), pyramid(LEVELS, batch=2, channels=64)
    given = []
    for module in (head.encoder, head.decoder):
        module.register_forward_hook(
            lambda module, args, out: given.append((args, out))
        )
    both = [detections(head, count, pixels) for _ in range(2)]
    with torch.no_grad():
        head.predict(feats, [sample([], []), sample([], [])], both)
    ((_, images, places), codes), ((_, owners, _), logits) = given
    assert len(images) == len(places) == len(codes) == 2 * pixels
    assert len(owners) == len(logits) == 2 * count


def test_the_largest_maps_are_made_in_parts():
    head = spr_head()
    codes, masks = torch.randn(100, head.encoder.out_channels), range(100)
    with torch.no_grad(), Made() as made:
        head.decoder(codes, torch.tensor(masks), torch.tensor(masks) % 6)
    channels = head.decoder.classifier.in_channels
    # The maps of half the side are whole.
    assert max(made.sizes) == len(codes) * CELLS // 4 * channels


def test_run_lengths_never_stand_in_an_image():
    height, width = 4000, 6000
    torch.manual_seed(0)
    sides = torch.cat([20 + 280 * torch.rand(97, 2), 2500 * torch.ones(2, 2)])
    corner = torch.rand(99, 2) * torch.tensor([width, height])
    boxes = torch.cat([corner - sides / 2, corner + sides / 2], dim=1)
    whole = torch.tensor([[0.0, 0, width, height]])
    probabilities = torch.rand(100, 32, 32)
    tracemalloc.start()
    with Made() as made:
        rles = rle_masks(
            probabilities, torch.cat([boxes, whole]), height, width, 0.5
        )
    arrays = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rles) == 100
    assert max(made.sizes) <= PIXELS_AT_ONCE
    assert made.peak + arrays < 100 * 2**20


def test_patches_are_hardly_larger_than_their_boxes():
    """Also where long thin boxes lie and stand."""
    torch.manual_seed(0)
    start = 900 * torch.rand(100, 2)
    sides = torch.tensor([[1000.0, 3], [3, 1000]]).repeat(50, 1)
    boxes = torch.cat([start, start + sides], dim=1)
    with Made() as made:
        rle_masks(torch.rand(100, 32, 32), boxes, 2000, 2000, 0.5)
    area = 100 * 1000 * 3
    # Besides, weights of 32 cells for each row and column
    assert sum(made.sizes) < 10 * (area + 100 * 32 * 1003)


def in_training(annotated, reads='pixels'):
    """What the loss and its gradients make, and how many masks train."""
    head = spr_head(reads=reads)
    feats = maps(head)
    head.sampler.max_pixels = head.sampler.max_boxes = 30
    pixels = []
    head.register_forward_hook(lambda m, args, out: pixels.append(len(out)))
    with Made() as made:
        head.loss(feats, [annotated])['loss_mask'].backward()
    return made, *pixels


def test_losses_do_not_depend_on_objects_without_pixels():
    few, pixels = in_training(objects(16))
    assert 10 < pixels < 30
    for small in (144, 1984):  # 16 too, the boxes at once, divides them
        many, same = in_training(objects(16, small))
        assert same == pixels
        assert set(many.sizes) == set(few.sizes)
        assert many.peak == few.peak


def test_losses_do_not_depend_on_the_number_of_objects(reads):
    """No matrix of objects and anchors; no target that does not train."""
    few, masks = in_training(objects(64), reads)
    assert masks == 30
    for large in (640, 1984):
        many, masks = in_training(objects(large), reads)
        assert masks == 30
        assert max(many.sizes) == max(few.sizes)
        assert many.peak <= 1.05 * few.peak


def test_candidates_are_looked_for_only_where_they_can_be():
    classes, sizes = 80, [(64, 64), (32, 32)]
    torch.manual_seed(0)
    maps = [torch.randn(9 * classes, *size) - 12 for size in sizes]
    maps[0][::7, 10, 20:40] += 12
    head = MODELS.build(dict(MODEL.bbox_head, num_classes=classes))
    cfg = dict(score_thr=0.05, nms_pre=1000)
    _, scores = _candidates(maps, head, cfg, _likely)
    with Made() as made:
        pixels = candidate_pixels(maps, head, cfg, scores)
    assert len(pixels.unique()) == 20
    assert max(made.sizes) == 20 * 9 * classes
