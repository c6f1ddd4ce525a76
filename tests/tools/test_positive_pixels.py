"""tools/positive_pixels.py: the locations it draws are those that
train."""

import numpy as np
import positive_pixels
import torch
from support.helpers import (
    BOX_CONFIG,
    CONFIGS,
    SHAPES_CONFIG,
    build_model,
    sample,
)
from support.in_process import complaint, is_picture, run_command

from projects.sprnet import locations
from projects.sprnet.structures import Features

SIZES = [(16, 20), (8, 10), (4, 5), (2, 3), (1, 2)]  # of 128 x 160 pixels


def head_and_sample(**options):
    """A mask head with options of its sampler, and a padded image."""
    head = build_model(
        **{f'mask_head.sampler.{k}': v for k, v in options.items()}
    ).mask_head
    image = sample(
        [(10, 20, 60, 90), (80, 70, 127, 127), (3, 3, 9, 9)],
        [0] * 3,
        (120, 128),
    )
    image.set_metainfo(
        dict(
            img_shape=(120, 128),
            pad_shape=(120, 128),
            batch_input_shape=(128, 160),
        )
    )
    features = Features(tuple(torch.zeros(1, 1, *size) for size in SIZES))
    (anchors,) = head.anchors(features, [image.metainfo])
    return head, image, anchors


def test_positive_locations_are_those_that_train():
    head, image, anchors = head_and_sample()
    boxes = image.gt_instances.bboxes
    positives, negatives = positive_pixels.positives_and_negatives(head, image)
    trained = head.training_instances(
        0, image.gt_instances, image.metainfo, anchors
    )
    assert positives.indices.tolist() == trained.location.tolist()
    assigned = locations.assign_locations(anchors, boxes)
    indices, objects = locations.positive_locations(assigned, 0.7)
    assert positives.indices.tolist() == indices.tolist()
    assert positives.objects.tolist() == objects.tolist()
    assert set(objects.tolist()) == {0, 1}

    assert (positives.overlaps > 0.7).all()
    assert (negatives.overlaps <= 0.7).all()
    assert not set(positives.indices) & set(negatives.indices)
    starts = np.cumsum([0, 320, 80, 20, 6])
    for location, level, anchor in zip(
        positives.indices, positives.levels, positives.anchors
    ):
        assert level == np.searchsorted(starts, location, side='right') - 1
        assert anchor.tolist() in anchors[location].tolist()
    centres = (negatives.anchors[:, :2] + negatives.anchors[:, 2:]) / 2
    assert (centres <= (128, 120)).all()


def test_an_objects_only_location_is_shown_as_its_own():
    head, image, anchors = head_and_sample(type='EveryObjectLocationSampler')
    positives, _ = positive_pixels.positives_and_negatives(head, image)
    assert positives.objects[-1] == 2
    assigned = locations.assign_locations(anchors, image.gt_instances.bboxes)
    assert positives.indices[-1] == assigned.locations[2]
    assert positives.overlaps[-1] < 0.7


def test_best_location_of_each_object():
    head, image, _ = head_and_sample(threshold=0.3)
    positives, _ = positive_pixels.positives_and_negatives(head, image)
    best = positive_pixels.best_of_each(positives)
    assert best.objects.tolist() == sorted(set(positives.objects))
    for index, overlap in zip(best.objects, best.overlaps):
        assert overlap == positives.overlaps[positives.objects == index].max()


def test_drawn_negatives_hardly_overlap_and_lie_inside():
    head, image, _ = head_and_sample()
    positives, negatives = positive_pixels.positives_and_negatives(head, image)
    levels = np.unique(positives.levels)
    drawn = positive_pixels.some_negatives(negatives, levels, (120, 128), 5)
    assert len(set(drawn.indices)) == 5
    assert set(drawn.levels) <= set(levels)
    assert (drawn.overlaps < 0.4).all()
    assert (drawn.anchors >= 0).all()
    assert (drawn.anchors[:, 2:] <= (128, 120)).all()


def test_an_image_without_objects(tmp_path):
    head, image, _ = head_and_sample()
    image.gt_instances = image.gt_instances[:0]
    background = np.zeros((120, 128, 3), np.uint8)
    figure = positive_pixels.draw(head, background, image, 5)
    assert '0 positive locations for 0 of 0' in figure.axes[0].get_title()
    (legend,) = figure.legends
    drawn = [text.get_text().split(': ') for text in legend.get_texts()]
    assert drawn[0] == ["a negative's best anchor"]
    assert sum(int(words[1].split()[0]) for words in drawn[1:]) == 5
    figure.savefig(tmp_path / 'background.png', dpi=100)
    assert is_picture(tmp_path / 'background.png', 900)


def test_draws_training_images(shapes, tmp_path, capsys):
    run_command(
        positive_pixels,
        *(SHAPES_CONFIG, '--out-dir', tmp_path, '--number', 2),
        *('--cfg-options', f'data_root={shapes}'),
        'model.mask_head.sampler.threshold=0.5',
    )
    assert len(list(tmp_path.glob('*.png'))) == 2
    assert all(is_picture(file, 900) for file in tmp_path.glob('*.png'))
    assert '2 pictures drawn' in capsys.readouterr().out


def test_wrong_input_ends_in_one_sentence(shapes, tmp_path):
    data = ['--cfg-options', f'data_root={shapes}']
    nowhere = ['--cfg-options', 'data_root=nowhere']
    retinanet = CONFIGS / 'object_detection' / 'retinanet_r18_fpn_shapes.py'
    for arguments, words in (
        ([retinanet, *data], 'type SPRHead'),
        ([BOX_CONFIG, *data], 'model.mask_head.sampler.type=JitteredBox'),
        ([SHAPES_CONFIG, '--image-ids', 1, 99, *data], 'no image 99'),
        ([SHAPES_CONFIG, '--number', 0], 'argument --number: 0'),
        ([SHAPES_CONFIG, *nowhere], 'nowhere/annotations/instances_train'),
    ):
        out = ['--out-dir', tmp_path]
        assert words in complaint(positive_pixels, *out, *arguments)
