import pytest
import torch
import torch.nn.functional as F
from support.helpers import OBJECTS, build_model, sample

from projects.sprnet.mask_targets import mask_targets
from projects.sprnet.pixels import positive_pixels


@pytest.fixture
def model():
    return build_model()


def feats_of(model, batch):
    torch.manual_seed(1)
    return model.extract_feat(torch.randn(batch, 3, 128, 128))


def loss_of(model, samples):
    feats = feats_of(model, len(samples))
    loss = model.mask_head.loss(feats, samples)['loss_mask']
    loss.backward()
    return loss


def test_loss_against_every_pixel_on_its_own(model):
    samples = [sample(OBJECTS, [0, 3, 5]), sample(OBJECTS[:1], [2])]
    head, feats = model.mask_head, feats_of(model, 2)
    anchors = torch.cat(
        head.anchor_generator.grid_priors(
            [f.shape[-2:] for f in feats], device='cpu'
        )
    ).view(-1, 9, 4)
    cells = []
    for n, annotated in enumerate(samples):
        gt = annotated.gt_instances
        objects = torch.arange(len(gt.bboxes))
        targets = mask_targets(gt.masks, objects, gt.bboxes, 32)
        for pixel, instance in zip(
            *positive_pixels(anchors, gt.bboxes, threshold=0.7)
        ):
            code = head.encoder(feats, torch.tensor([n]), pixel[None])
            label, only = gt.labels[instance][None], torch.tensor([0])
            logits = head.decoder(code, only, label)[0]
            cells.append(
                F.binary_cross_entropy(logits.sigmoid(), targets[instance])
            )
    assert len(cells) > 3
    loss = head.loss(feats, samples)['loss_mask']
    torch.testing.assert_close(loss, torch.stack(cells).mean())


def test_masks_of_one_pixel_are_as_on_their_own(model):
    """Also at the first and last pixels of neighbouring images."""
    head, feats = model.mask_head, feats_of(model, 3)
    torch.nn.init.normal_(head.decoder.classifier.weight, std=0.1)
    last = sum(f[0, 0].numel() for f in feats) - 1
    indices = torch.tensor([1, 0, 2, 1, 0, 1, 1, 0])
    pixels = torch.tensor([0, last, 0, 7, 7, last, 0, last])
    labels = torch.tensor([3, 1, 2, 5, 0, 4, 3, 2])
    logits = head(feats, indices, pixels, torch.zeros(8, 4), labels)
    for i, logit in enumerate(logits):
        one = slice(i, i + 1)
        code = head.encoder(feats, indices[one], pixels[one])
        alone = head.decoder(code, torch.tensor([0]), labels[one])[0]
        torch.testing.assert_close(logit, alone, atol=1e-5, rtol=1e-5)
    assert len(logits.flatten(1).round(decimals=2).unique(dim=0)) == 7


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
    ids=['no object', 'no positive pixel'],
)
def test_without_positive_pixels_the_loss_is_zero_and_reaches_all(
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


def test_a_single_pixel_map(model):
    head = model.mask_head
    feats = [torch.randn(1, 64, 1, 1) for _ in range(5)]
    loss = head.loss(feats, [sample([[-16, -16, 16, 16]], [0], (128, 128))])
    assert torch.isfinite(loss['loss_mask']) and loss['loss_mask'] > 0


def test_a_thousand_instances(model):
    torch.manual_seed(0)
    corner = torch.rand(1000, 2) * 90
    boxes = torch.cat([corner, corner + 34], dim=1).tolist()
    loss = loss_of(model, [sample(boxes, [i % 6 for i in range(1000)])])
    assert torch.isfinite(loss) and loss > 0
