"""The config and commands of OWN_DATA.md, and labelme_to_coco.py."""

import json
import re
import runpy
import shlex
import sys

import cv2
import labelme_to_coco
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image
from pycocotools.coco import COCO
from support.helpers import CONFIGS, ROOT

PAGE = (CONFIGS / 'OWN_DATA.md').read_text()
CONFIG = re.search(r'```python\n(.*?)```', PAGE, re.DOTALL)[1]
COMMANDS = [
    line
    for block in re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)
    for line in block.splitlines()
]
NARROW = {
    'model.backbone.base_channels': 8,
    'model.neck.in_channels': [32, 64, 128, 256],
}
# Options that make the commands take seconds
SMALL = [
    'model.backbone.base_channels=8',
    'model.neck.in_channels=[32,64,128,256]',
    'model.test_cfg.score_thr=0.0',
    'model.test_cfg.max_per_img=5',
    'load_from=retinanet.pth',
    'train_cfg.max_epochs=1',
    'default_hooks.logger.interval=1',
    'train_dataloader.num_workers=0',
    'train_dataloader.dataset.pipeline.2.scale=(96,96)',
    *(
        f'{loader}_dataloader.{option}'
        for loader in ('val', 'test')
        for option in (
            'num_workers=0',
            'persistent_workers=False',
            'dataset.pipeline.1.scale=(96,96)',
        )
    ),
]
CONFIGURED = ('browse_dataset', 'tools/train', 'tools/test', 'tools/predict')


def shape(label, points, kind='polygon', group=None):
    return dict(
        label=label,
        points=points,
        shape_type=kind,
        group_id=group,
        flags={},
    )


def drawing(folder, name, shapes, height=80, width=100, **fields):
    """Write an image, and the JSON that labelme would write beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 99, (height, width, 3))
    cv2.imwrite(str(folder / f'{name}.jpg'), noise.astype(np.uint8))
    data = dict(
        version='5.5.0',
        flags={},
        shapes=shapes,
        imagePath=f'{name}.jpg',
        imageData=None,
        imageHeight=height,
        imageWidth=width,
    )
    file = folder / f'{name}.json'
    file.write_text(json.dumps({**data, **fields}))
    return file


def cells():
    return [
        shape('healthy', [[50, 40], [50, 70]], 'circle'),
        shape('infected', [[5, 5], [45, 30]], 'rectangle'),
    ]


def call(patch, command):
    """Run a command of the page in this process, which is loaded already."""
    script, *arguments = shlex.split(command)[1:]
    if any(name in command for name in CONFIGURED):
        arguments += ['--cfg-options', *SMALL]
    patch.setattr(sys, 'argv', [script, *arguments])
    runpy.run_path(str(ROOT / script), run_name='__main__')


@pytest.fixture(scope='module')
def followed(tmp_path_factory):
    """A folder in which all commands of the page have run."""
    folder = tmp_path_factory.mktemp('own')
    for split in ('train', 'val'):
        for n in range(3):
            drawing(folder / 'data' / 'cells' / split, f'{split}{n}', cells())
    (folder / 'configs').mkdir()
    (folder / 'configs' / 'sprnet').symlink_to(CONFIGS)
    (folder / 'configs' / 'cells.py').write_text(CONFIG)
    coco = Config.fromfile(CONFIGS / 'sprnet_r50_fpn_1x_coco.py')
    coco.merge_from_dict({'model.type': 'RetinaNet', **NARROW})
    coco.model.backbone.init_cfg = None
    coco.model.pop('mask_head')
    torch.save(
        dict(state_dict=MODELS.build(coco.model).state_dict()),
        folder / 'retinanet.pth',
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in COMMANDS:
            call(patch, command.replace('epoch_36', 'epoch_1'))
    return folder


def test_the_page_leads_from_drawings_to_masks(followed):
    browsed = followed / 'work_dirs' / 'cells' / 'browse'
    sizes = {cv2.imread(str(file)).shape for file in browsed.glob('*.jpg')}
    assert len(list(browsed.iterdir())) == 3 and sizes == {(77, 96, 3)}
    pictures = followed.glob('work_dirs/cells/*/pictures/*.jpg')
    assert len(list(pictures)) == 3
    coco = COCO(followed / 'predictions' / 'coco.json')
    names = [c['name'] for c in coco.loadCats(coco.getCatIds())]
    assert names == ['healthy', 'infected']
    assert len(coco.imgs) == 3 and len(coco.anns) == 15
    for one in coco.anns.values():
        assert coco.annToMask(one).shape == (80, 100)


def test_training_starts_from_cocos_detector(followed):
    start = torch.load(followed / 'retinanet.pth')['state_dict']
    file = followed / 'work_dirs' / 'cells' / 'epoch_1.pth'
    end = torch.load(file)['state_dict']
    mismatched = {k for k in start if start[k].shape != end[k].shape}
    assert mismatched == {
        'bbox_head.retina_cls.weight',
        'bbox_head.retina_cls.bias',
    }
    for key in start.keys() - mismatched:
        change = (end[key].float() - start[key]).abs().max()
        assert change < 1e-3, key
    assert end['bbox_head.retina_cls.bias'].shape == (2 * 9,)


def convert(monkeypatch, folder, *classes):
    """The COCO JSON of a folder, and the message with which the tool fails."""
    out = folder / 'coco.json'
    classes = ['--classes', *classes] if classes else []
    monkeypatch.setattr(sys, 'argv', ['', str(folder), str(out), *classes])
    error = None
    try:
        labelme_to_coco.main()
    except SystemExit as end:
        error = end.code
    return COCO(out), error


def test_shapes_become_masks(monkeypatch, tmp_path):
    corners = [[10.5, 10.5], [60.5, 20.5], [30.5, 70.5]]
    parts = [
        shape('b', [[2, 60], [12, 60], [12, 70], [2, 70]], group=7),
        shape('b', [[80, 60], [90, 60], [90, 70], [80, 70]], group=7),
        shape('a', [[85, 5], [95, 15]], 'rectangle', group=7),
    ]
    drawing(
        tmp_path,
        'all',
        [
            shape('a', corners),
            shape('c', [[50, 40], [50, 65]], 'circle'),
            shape('c', [[95, 20], [5, 5]], 'rectangle'),
            *parts,
        ],
    )
    coco, error = convert(monkeypatch, tmp_path)
    assert error is None
    names = {c['id']: c['name'] for c in coco.dataset['categories']}
    assert names == {1: 'a', 2: 'b', 3: 'c'}
    objects = list(coco.anns.values())
    assert [names[a['category_id']] for a in objects] == list('accba')

    x, y = np.meshgrid(np.arange(100) + 0.5, np.arange(80) + 0.5)
    triangle = np.ones((80, 100), bool)
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1]):
        triangle &= (x2 - x1) * (y - y1) >= (y2 - y1) * (x - x1)
    expected = [
        triangle,
        (x - 50) ** 2 + (y - 40) ** 2 <= 25**2,
        (x > 5) & (x < 95) & (y > 5) & (y < 20),
        ((abs(x - 7) < 5) | (abs(x - 85) < 5)) & (y > 60) & (y < 70),
        (x > 85) & (x < 95) & (y > 5) & (y < 15),
    ]
    for one, mask in zip(objects, expected):
        drawn = coco.annToMask(one).astype(bool)
        assert (drawn & mask).sum() / (drawn | mask).sum() > 0.95
        assert one['area'] == drawn.sum() and one['iscrowd'] == 0
    assert objects[2]['bbox'] == [5, 5, 90, 15]
    assert objects[3]['bbox'] == [2, 60, 88, 10]
    assert len(objects[3]['segmentation']) == 2


def test_paths_sizes_and_rotations_of_images(monkeypatch, tmp_path):
    drawing(tmp_path, 'none', [])
    elsewhere = (tmp_path / 'none.jpg').rename(tmp_path.parent / 'linked.jpg')
    (tmp_path / 'none.jpg').symlink_to(elsewhere)
    # In a subfolder, on Windows, by an old version without types and sizes
    old = shape('a', [[1, 1], [50, 1], [50, 50]])
    del old['shape_type'], old['group_id']
    drawing(
        tmp_path / 'sub',
        'old',
        [old, shape('a', [[-9, 60], [20, 60], [20, 90]])],
        imagePath='..\\sub\\old.jpg',
        imageHeight=None,
        imageWidth=None,
    )
    drawing(tmp_path, 'turned', cells(), 100, 80)
    picture = Image.open(tmp_path / 'turned.jpg')
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.resize((100, 80)).save(tmp_path / 'turned.jpg', exif=exif)

    coco, error = convert(monkeypatch, tmp_path, 'infected', 'healthy', 'a')
    assert error is None
    names = [c['name'] for c in coco.dataset['categories']]
    assert names == ['infected', 'healthy', 'a']
    images = {i['file_name']: i for i in coco.imgs.values()}
    assert images.keys() == {'none.jpg', 'sub/old.jpg', 'turned.jpg'}
    turned = images['turned.jpg']
    assert (turned['height'], turned['width']) == (100, 80)
    assert coco.imgToAnns[images['none.jpg']['id']] == []
    over_the_edge = coco.imgToAnns[images['sub/old.jpg']['id']][1]
    assert over_the_edge['bbox'] == [0, 60, 20, 20]


def test_other_programs_write_rotated_boxes_and_byte_order_marks(
    monkeypatch, tmp_path
):
    corners = [[20, 5], [35, 20], [20, 35], [5, 20]]
    file = drawing(tmp_path, 'a', [shape('a', corners, 'rotation')])
    file.write_bytes(b'\xef\xbb\xbf' + file.read_bytes())
    coco, error = convert(monkeypatch, tmp_path)
    assert error is None
    assert coco.anns[1]['segmentation'] == [[20, 5, 35, 20, 20, 35, 5, 20]]


def test_bad_drawings_are_left_out_and_listed(monkeypatch, tmp_path):
    square = [[5, 5], [9, 5], [9, 9], [5, 9]]
    drawing(tmp_path, 'good', [shape('a', square)])
    for name, shapes, fields in (
        ('area', [shape('a', [[5, 5], [9, 9]])], {}),
        ('far', [shape('a', [[500, 5], [600, 5], [600, 9]])], {}),
        ('gone', [], dict(imagePath='nowhere.jpg')),
        ('label', [shape('x', square)], {}),
        ('line', [shape('a', square), shape('a', square, 'line')], {}),
        ('mask', [shape('a', square[::2], 'mask')], {}),
        ('other', [], dict(imagePath=None)),
        ('outside', [], dict(imagePath='../outside.jpg')),
        ('size', [], dict(imageHeight=100, imageWidth=80)),
    ):
        drawing(tmp_path / 'set', name, shapes, **fields)
    drawing(tmp_path, 'outside', [])
    (tmp_path / 'set' / 'text.json').write_text('no JSON')
    (tmp_path / 'set' / 'gbk.json').write_text('细胞', encoding='gbk')
    (tmp_path / 'set' / 'empty.jpg').write_text('')
    empty = dict(shapes=[], imagePath='empty.jpg')
    (tmp_path / 'set' / 'zero.json').write_text(json.dumps(empty))
    (tmp_path / 'good.json').rename(tmp_path / 'set' / 'good.json')
    (tmp_path / 'good.jpg').rename(tmp_path / 'set' / 'good.jpg')

    folder = tmp_path / 'set'
    coco, error = convert(monkeypatch, folder, 'a')
    assert [i['file_name'] for i in coco.imgs.values()] == ['good.jpg']
    first, *lines = error.splitlines()
    assert first == 'labelme_to_coco.py: left out:'
    expected = dict(
        area='a polygon of 2 points has no area',
        far="an object 'a' covers no pixel of the image",
        gbk="it is not in labelme's encoding, UTF-8; convert it",
        gone=f'its image {folder}/nowhere.jpg is missing or empty',
        label="labels ['x'] are not in --classes",
        line='a line does not outline an object',
        mask='a mask of an AI tool is not read; use AI-Polygon',
        other='it is not a labelme JSON: AttributeError',
        outside=f'its image {tmp_path}/outside.jpg is outside of {folder}; ',
        size='it was drawn on 80 x 100 pixels, but its image has 100 x 80',
        text='it is not a labelme JSON: JSONDecodeError',
        zero=f'its image {folder}/empty.jpg is missing or empty',
    )
    assert len(lines) == len(expected)
    for line, (name, words) in zip(lines, expected.items()):
        assert line.startswith(f'{folder / name}.json: {words}'), line


def test_labels_as_people_write_them(monkeypatch, tmp_path, capsys):
    square, other = [[5, 5], [45, 30]], [[50, 40], [90, 70]]
    folder = tmp_path / 'drawn'
    drawing(
        folder,
        'a',
        [shape('cell', square, 'rectangle'), shape(7, other, 'rectangle')],
    )
    drawing(
        folder,
        'b',
        [
            shape('Cell ', square, 'rectangle'),
            shape('__ignore__', other, 'rectangle'),
        ],
    )
    (folder / 'copy.json').write_text((folder / 'a.json').read_text())
    coco, message = convert(monkeypatch, folder)
    names = [c['name'] for c in coco.dataset['categories']]
    assert names == ['7', 'Cell ', 'cell']
    assert len(coco.imgs) == 2 and len(coco.anns) == 3
    assert f'copy.json: its image has another JSON, {folder}' in message
    printed = capsys.readouterr().out
    assert "class 1: '7', 1 objects" in printed
    assert "'Cell ', 'cell' may mean the same" in printed
