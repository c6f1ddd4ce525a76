import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from support.helpers import (
    BOX_CONFIG,
    OBJECTS,
    SHAPES_CONFIG,
    build_model,
    sample,
)
from support.references import logits_of

from projects.sprnet.locations import assign_locations, positive_locations
from projects.sprnet.mask_targets import mask_targets
from projects.sprnet.structures import Features, Instances


@pytest.fixture
def model():
    return build_model()


def features_of(model, batch):
    torch.manual_seed(1)
    return model.extract_feat(torch.randn(batch, 3, 128, 128))


def loss_of(model, samples):
    features = features_of(model, len(samples))
    loss = model.mask_head.loss(features, samples)['loss_mask']
    loss.backward()
    return loss


def test_loss_against_every_location_on_its_own(model):
    samples = [sample(OBJECTS, [0, 3, 5]), sample(OBJECTS[:1], [2])]
    head, features = model.mask_head, features_of(model, 2)
    generator = model.bbox_head.prior_generator
    sizes = [level.shape[-2:] for level in features.levels]
    anchors = torch.cat(generator.grid_priors(sizes, device='cpu'))
    anchors = anchors.view(-1, 9, 4)
    losses = []
    for n, annotated in enumerate(samples):
        gt = annotated.gt_instances
        objects = torch.arange(len(gt.bboxes))
        targets = mask_targets(gt.masks, objects, gt.bboxes, 32)
        assigned = assign_locations(anchors, gt.bboxes)
        for location, index in zip(*positive_locations(assigned, 0.7)):
            one = Instances(
                torch.tensor([n]), None, gt.labels[index, None], location[None]
            )
            logits = logits_of(head, features, one)[0]
            losses.append(
                F.binary_cross_entropy(logits.sigmoid(), targets[index])
            )
    assert len(losses) > 3
    loss = head.loss(features, samples)['loss_mask']
    torch.testing.assert_close(loss, torch.stack(losses).mean())


# Each encoder's path against plain PyTorch


@pytest.fixture(
    scope='module',
    params=[SHAPES_CONFIG, BOX_CONFIG],
    ids=['locations', 'boxes'],
)
def case(request):
    """A head, features of three pictures of 256 x 256 pixels, instances.

    Several instances share a location, and some are the first or the last
    of neighbouring pictures.
    """
    head = build_model(request.param).mask_head.eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(head.decoder.classifier.weight, std=0.5)
    sides = (32, 16, 8, 4, 2)
    levels = tuple(torch.randn(3, 64, side, side) for side in sides)
    last = sum(side**2 for side in sides) - 1
    instances = Instances(
        torch.tensor([1, 0, 2, 1, 0, 1, 1, 0]),
        torch.tensor(
            [
                [10.0, 12, 60, 58],
                [10, 12, 60, 58],
                [4, 30, 250, 200],
                [10, 12, 60, 58],
                [100, 90, 250, 220],
                [0, 0, 256, 256],
                [90, 100, 140, 230],
                [200.5, 201, 216, 255],
            ]
        ),
        torch.tensor([3, 1, 2, 5, 0, 4, 3, 2]),
        torch.tensor([0, last, 0, 0, 1200, last, 7, last]),
    )
    features = Features(levels, torch.randn(3, 32, 64, 64))
    return head, features, instances


def test_masks_against_plain_pytorch(case):
    head, features, instances = case
    logits = head(*case[1:])
    torch.testing.assert_close(logits, logits_of(*case), atol=1e-3, rtol=1e-3)
    assert len(logits.flatten(1).round(decimals=2).unique(dim=0)) > 6


CHANGES = {
    'another picture': lambda i: i._replace(picture=(i.picture + 1) % 3),
    'another label': lambda i: i._replace(label=(i.label + 1) % 6),
    'the next location, or half a pixel': lambda i: i._replace(
        location=i.location + 1, box=i.box + torch.tensor([4, 0, 4, 0])
    ),
    # The finest level has 32 x 32 locations, and a box of twice the side
    # changes its level.
    'another level': lambda i: i._replace(
        location=(i.location + 32 * 32) % 1364,
        box=i.box[:, [0, 1, 0, 1]] + (i.box - i.box[:, [0, 1, 0, 1]]) * 2,
    ),
}


@pytest.mark.parametrize('change', CHANGES)
def test_plain_pytorch_notices_an_error(case, change):
    head, features, instances = case
    one = Instances(*(field[:1] for field in instances[:4]))
    expected = logits_of(head, features, one)
    wrong = head(features, CHANGES[change](one))
    assert ((wrong > 0) != (expected > 0)).float().mean() > 0.01


def test_masks_return_to_their_pictures(case):
    """Also to pictures without detections, in the order of the batch."""
    head, features, instances = case
    samples = [sample([], [], (256, 256)) for _ in range(3)]

    def masks_of(*chosen):
        """Masks of the instances at these indices, by picture."""
        results = [
            InstanceData(
                bboxes=instances.box[picture],
                labels=instances.label[picture],
                locations=instances.location[picture],
            )
            for picture in chosen
        ]
        with torch.no_grad():
            predicted = head.predict(features, samples, results)
        return [result.masks for result in predicted]

    together = masks_of([0, 3], [], [5, 1, 2])
    assert [len(masks) for masks in together] == [2, 0, 3]
    for picture, index, mask in (
        (0, 0, together[0][0]),
        (0, 3, together[0][1]),
        (2, 5, together[2][0]),
        (2, 2, together[2][2]),
    ):
        chosen = [[], [], []]
        chosen[picture] = [index]
        (alone,) = masks_of(*chosen)[picture]
        assert mask.any() and (alone != mask).sum() <= 2


def test_only_the_objects_classes_learn(model):
    loss_of(model, [sample(OBJECTS[:2], [1, 4])])
    grad = model.mask_head.decoder.classifier.weight.grad.flatten(1)
    assert grad.abs().sum(1).nonzero()[:, 0].tolist() == [1, 4]


@pytest.mark.parametrize(
    'samples',
    [
        [sample([], [])],
        [sample([], []), sample([[50, 50, 53, 53]], [0])],
    ],
    ids=['no object', 'no positive location'],
)
def test_without_positive_locations_the_loss_is_zero_and_reaches_all(
    model, samples
):
    loss = loss_of(model, samples)
    assert loss.item() == 0
    for name, parameter in model.mask_head.named_parameters():
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_crowds_are_never_targets(model):
    crowd = sample([], [], crowds=OBJECTS)
    assert loss_of(model, [crowd]).item() == 0


def test_anchors_in_the_batchs_padding_are_never_positive(model):
    padded = sample(OBJECTS, [0, 1, 2])
    padded.set_metainfo(dict(pad_shape=(32, 32)))
    assert loss_of(model, [padded]).item() == 0


def test_maps_of_a_single_location(model):
    features = Features(tuple(torch.randn(1, 64, 1, 1) for _ in range(5)))
    loss = model.mask_head.loss(
        features, [sample([[-16, -16, 16, 16]], [0], (128, 128))]
    )
    assert torch.isfinite(loss['loss_mask']) and loss['loss_mask'] > 0


def test_a_thousand_instances(model):
    torch.manual_seed(0)
    corner = torch.rand(1000, 2) * 90
    boxes = torch.cat([corner, corner + 34], dim=1).tolist()
    loss = loss_of(model, [sample(boxes, [i % 6 for i in range(1000)])])
    assert torch.isfinite(loss) and loss > 0
