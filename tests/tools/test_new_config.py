"""The config that new_config.py writes, and the commands that follow."""

import json
import re

from common.anchor_fit import Objects

import new_config
import numpy as np
import pytest
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config
from own_config.propose import (
    propose_anchors,
    propose_detections,
    propose_epochs,
    propose_size,
)
from support.in_process import complaint, run_command

DEFAULT_RCNN = 'mask-rcnn_efficientnet-lite0_fpn'


@pytest.fixture(scope='module')
def pictures(shapes, tmp_path_factory):
    """A folder as a user has it: train.json, val.json and their images."""
    folder = tmp_path_factory.mktemp('own') / 'my shapes'
    folder.mkdir()
    for split in ('train', 'val'):
        (folder / split).symlink_to(shapes / f'{split}2017')
        file = shapes / 'annotations' / f'instances_{split}2017.json'
        (folder / f'{split}.json').write_text(file.read_text())
    return folder


def written(pictures, out, *arguments):
    """The config that the command writes."""
    run_command(new_config, pictures, '--out', out, *arguments)
    return Config.fromfile(out)


@pytest.mark.parametrize('model', new_config.MODELS)
def test_values_reach_every_part(model, pictures, tmp_path):
    options = ['--size', 128, '--epochs', 7, '--batch', 3, '--model', model]
    config = written(pictures, tmp_path / 'mine.py', *options)
    categories = json.loads((pictures / 'val.json').read_text())['categories']
    classes = tuple(c['name'] for c in categories)
    for loader in (config.train_dataloader, config.test_dataloader):
        resize = next(s for s in loader.dataset.pipeline if s.type == 'Resize')
        assert resize.scale == (128, 128)
        assert loader.dataset.data_root == f'{pictures}/'
        assert loader.dataset.metainfo.classes == classes
    assert config.val_dataloader == config.test_dataloader
    assert config.val_evaluator.ann_file == f'{pictures}/val.json'
    assert config.train_dataloader.batch_size == 3
    assert config.train_cfg.max_epochs == 7 == config.param_scheduler[1].end
    config.model.backbone.init_cfg = None
    built = MODELS.build(config.model)  # SPRNet checks that strides agree
    head = built.roi_head if 'rcnn' in model else built
    assert head.bbox_head.num_classes == len(classes)
    assert head.mask_head.num_classes == len(classes)


def test_mask_rcnn_gets_the_anchors_of_sprnet(pictures, tmp_path):
    options = '--size', 256, '--model'
    sides = []
    for name in ('sprnet_efficientnet-lite0_gfpn', DEFAULT_RCNN):
        out = tmp_path / f'{name}.py'
        model = written(pictures, out, *options, name).model
        head = model.get('rpn_head') or model.bbox_head
        generator = TASK_UTILS.build(head.anchor_generator)
        smallest = generator.base_anchors[0][:3]
        sides.append((smallest[:, 2:] - smallest[:, :2]).prod(dim=1).min())
    assert sides[0] == pytest.approx(sides[1])


def test_values_are_said_once_and_printed(pictures, tmp_path, capsys):
    out = tmp_path / 'mine.py'
    written(pictures, out, '--size', 160, '--epochs', 7, '--batch', 3)
    printed = capsys.readouterr().out
    for words in ('size=160: ', 'batch=3, epochs=7: 11 pictures', 'ellipse, '):
        assert words in printed
    assert f'next: python tools/check_dataset.py {out}' in printed
    assert re.sub(r'#.*', '', out.read_text()).count('my shapes') == 1
    with_paths = '# Written', '_base_', 'data_root'
    lines = out.read_text().splitlines()
    lines = [line for line in lines if not line.startswith(with_paths)]
    assert max(map(len, lines)) <= 80
    text = re.sub(r'#.*', '', '\n'.join(lines))
    for value in ('160', '7', '3', 'ellipse'):
        exactly = re.findall(rf'(?<![\w.]){value}\b', text)
        assert len(exactly) == 1, (value, exactly)


def squares(relative, picture=256, number=50):
    """Squares whose sides are shares of the picture's."""
    rng = np.random.default_rng(0)
    sides = np.resize(np.array(relative) * picture, number)[:, None]
    low = rng.uniform(0, picture - sides, (number, 2))
    images = np.full((number, 2), float(picture))
    return Objects(np.hstack([low, low + sides]), images)


def test_sizes_grow_where_objects_are_small():
    assert propose_size(squares([0.5])) == 256  # the least
    assert propose_size(squares([1 / 32], picture=400)) == 384
    assert propose_size(squares([1 / 80], picture=700)) == 960
    assert propose_size(squares([1 / 80], picture=256)) == 512  # twice
    assert propose_size(squares([1 / 200], picture=4000)) == 1024  # the most


def test_small_objects_get_small_anchors():
    large = propose_anchors(squares([0.25, 0.5]), 256)
    assert large.strides == (8, 16, 32, 64, 128)
    small = propose_anchors(squares([0.06, 0.08, 0.12]), 256)
    assert small.strides == (4, 8, 16, 32, 64)
    smaller = propose_anchors(squares([0.04]), 256)
    assert smaller.base < small.base or smaller.base == 2
    assert large.masks > 0.8 and smaller.masks < small.masks <= small.boxes
    # With 16 pixels and more, a tenth would train no box; with 8 and more,
    # most boxes would be far from their anchors.
    cells = np.array([9, 12, 15, 18, 21, 24, 27, 30, 35, 45]) / 384
    middle = propose_anchors(squares(cells, picture=384), 384)
    assert (middle.base, middle.strides) == (3, (4, 8, 16, 32, 64))
    assert middle.boxes > 0.95


def test_few_pictures_train_more_epochs():
    assert propose_epochs(897, 4) == 8
    assert propose_epochs(478, 4) == 15
    assert propose_epochs(10, 4) == 100
    assert propose_epochs(10**5, 4) == 1


@pytest.mark.parametrize(
    'model, crowded', [(new_config.DEFAULT, 'val'), (DEFAULT_RCNN, 'train')]
)
def test_crowded_pictures_get_more_detections(
    model, crowded, pictures, tmp_path
):
    assert [propose_detections(n) for n in (1, 100, 101)] == [100, 100, 200]
    for split in ('train', 'val'):
        data = json.loads((pictures / f'{split}.json').read_text())
        (annotation, *_), (image, *_) = data['annotations'], data['images']
        if split == crowded:
            data['annotations'] = [
                dict(annotation, id=i, image_id=image['id'])
                for i in range(201)
            ]
        (tmp_path / split).symlink_to(pictures / split)
        (tmp_path / f'{split}.json').write_text(json.dumps(data))
    config = written(tmp_path, tmp_path / 'mine.py', '--model', model)
    options = config.model.test_cfg
    assert options.get('rcnn', options).max_per_img == 300


def test_mistakes_end_in_one_sentence(pictures, tmp_path):
    def sentence(change=None, **files):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for split in ('train', 'val'):
            data = json.loads((pictures / f'{split}.json').read_text())
            if change:
                change(split, data)
            (folder / split).symlink_to(pictures / split)
            (folder / f'{split}.json').write_text(json.dumps(data))
        for name, content in files.items():
            file = folder / f'{name}.json'
            file.write_text(content) if content else file.unlink()
        out = folder / 'mine.py'
        text = complaint(new_config, folder, '--out', out)
        assert not out.exists() and str(folder) in text
        return text

    def other_classes(split, data):
        if split == 'val':
            data['categories'].reverse()

    def no_objects(split, data):
        data['annotations'] = []

    def no_image(split, data):
        data['images'][0]['file_name'] = 'nowhere.jpg'

    def no_size(split, data):
        del data['images'][0]['width']

    def no_category(split, data):
        data['categories'] = []

    def no_box(split, data):
        data['annotations'][0]['bbox'] = [1, 2]

    def no_area(split, data):
        data['images'][0]['height'] = 0

    assert 'val.json is missing; name the folder' in sentence(val='')
    assert 'train.json is not a COCO JSON' in sentence(train='{')
    assert "KeyError: 'images'" in sentence(train='{}')
    assert "KeyError: 'width'" in sentence(no_size)
    assert 'val.json (' in sentence(other_classes)
    assert 'has no object; annotate some' in sentence(no_objects)
    assert "first image 'nowhere.jpg' is in none of" in sentence(no_image)
    assert 'has no images or no categories' in sentence(no_category)
    assert 'train.json is not a COCO JSON' in sentence(no_box)
    assert 'image 1 has no area: width=96, height=0' in sentence(no_area)


def test_an_own_config_is_not_overwritten(pictures, tmp_path):
    out = tmp_path / 'mine.py'
    out.write_text('mine')
    text = complaint(new_config, pictures, '--out', out)
    assert f'{out} exists already' in text and out.read_text() == 'mine'
