"""The commands and the config of OWN_DATA.md."""

import io
import re
import runpy
import shlex
import sys
from contextlib import redirect_stdout

import cv2
import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from PIL import Image
from pycocotools.coco import COCO
from support.annotated import HEIGHT, WIDTH, picture
from support.helpers import CONFIGS, ROOT

PAGE = (CONFIGS / 'OWN_DATA.md').read_text()
CONFIG = re.search(r'```python\n(.*?)```', PAGE, re.DOTALL)[1]
STORY, (BROWSE,), (TEST,) = (
    block.splitlines()
    for block in re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)
)
NARROW = {
    'model.backbone.base_channels': 8,
    'model.neck.in_channels': [32, 64, 128, 256],
}
# Options that make the commands take seconds
QUICK = [
    'model.test_cfg.score_thr=0.0',
    'model.test_cfg.max_per_img=5',
    'default_hooks.logger.interval=1',
    *(f'{name}_dataloader.num_workers=0' for name in ('train', 'val', 'test')),
    *(
        f'{name}_dataloader.persistent_workers=False'
        for name in ('train', 'val', 'test')
    ),
]
OWN = ['model.backbone.init_cfg=None']
FROM_COCO = [
    'model.backbone.base_channels=8',
    'model.neck.in_channels=[32,64,128,256]',
    'load_from=retinanet.pth',
    'train_cfg.max_epochs=1',
    'train_dataloader.dataset.pipeline.2.scale=(96,96)',
    'val_dataloader.dataset.pipeline.1.scale=(96,96)',
    'test_dataloader.dataset.pipeline.1.scale=(96,96)',
]


def call(command, *more):
    """Run a command of the page in this process, which is loaded already;
    return what it prints."""
    script, *arguments = shlex.split(command)[1:]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.setattr(sys, 'argv', [script, *arguments, *more])
        runpy.run_path(str(ROOT / script), run_name='__main__')
    return printed.getvalue()


def label_images(folder):
    """Five pictures with five cells each, and their label images."""
    for n in range(5):
        cells = np.zeros((HEIGHT, WIDTH), np.uint8)
        for number in range(5):
            centre = 12 + 18 * number, 20 + 4 * n
            cv2.circle(cells, centre, 8, number + 1, -1)
        picture(folder / 'images' / f'{n}.jpg')
        (folder / 'labels').mkdir(exist_ok=True)
        Image.fromarray(cells).save(folder / 'labels' / f'{n}.png')


@pytest.fixture(scope='module')
def followed(tmp_path_factory):
    """A folder in which the story was followed by the printed commands, and
    these commands."""
    folder = tmp_path_factory.mktemp('own')
    label_images(folder / 'my_cells')
    (folder / 'configs').mkdir()
    options = ['--cfg-options', *QUICK, *OWN]
    more = dict(
        new_config=[
            '--out',
            'configs/cells.py',
            '--size',
            '96',
            '--epochs',
            '1',
        ],
        check_dataset=options,  # which the commands hand on
    )
    command, commands = STORY[0], []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        while command:
            commands.append(command)
            tool = re.search(r'tools/(\w+)\.py', command)[1]
            printed = call(command, *more.get(tool, []))
            found = re.findall('^next: (.*)$', printed, re.MULTILINE)
            command = found[-1] if found else None
        call(BROWSE, *options)
        call(TEST.replace('epoch_36', 'epoch_1'), *options)
    return folder, commands


def test_each_command_of_the_story_prints_the_next(followed):
    _, commands = followed
    scripts = [command.split()[1] for command in commands]
    assert scripts == [command.split()[1] for command in STORY]


def test_the_story_leads_from_label_images_to_masks(followed):
    folder, _ = followed
    browsed = folder / 'work_dirs' / 'cells' / 'browse'
    sizes = {cv2.imread(str(file)).shape for file in browsed.glob('*.jpg')}
    assert len(list(browsed.iterdir())) == 4 and sizes == {(77, 96, 3)}
    pictures = folder.glob('work_dirs/cells/*/pictures/*.jpg')
    assert len(list(pictures)) == 1
    coco = COCO(folder / 'predictions' / 'coco.json')
    names = [c['name'] for c in coco.loadCats(coco.getCatIds())]
    assert names == ['cell']
    assert len(coco.imgs) == 1 and len(coco.anns) == 5
    for one in coco.anns.values():
        assert coco.annToMask(one).shape == (HEIGHT, WIDTH)


def test_training_starts_from_cocos_detector(followed):
    folder, _ = followed
    (folder / 'configs' / 'sprnet').symlink_to(CONFIGS)
    (folder / 'configs' / 'cells_r50.py').write_text(CONFIG)
    coco = Config.fromfile(CONFIGS / 'sprnet_r50_fpn_1x_coco.py')
    coco.merge_from_dict({'model.type': 'RetinaNet', **NARROW})
    coco.model.backbone.init_cfg = None
    coco.model.pop('mask_head')
    start = MODELS.build(coco.model).state_dict()
    torch.save(dict(state_dict=start), folder / 'retinanet.pth')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        options = ['--cfg-options', *QUICK, *FROM_COCO]
        command = 'python tools/train.py configs/cells_r50.py'
        call(command, '--auto-scale-lr', *options)
    file = folder / 'work_dirs' / 'cells_r50' / 'epoch_1.pth'
    end = torch.load(file)['state_dict']
    mismatched = {k for k in start if start[k].shape != end[k].shape}
    assert mismatched == {
        'bbox_head.retina_cls.weight',
        'bbox_head.retina_cls.bias',
    }
    for key in start.keys() - mismatched:
        change = (end[key].float() - start[key]).abs().max()
        assert change < 1e-3, key
    assert end['bbox_head.retina_cls.bias'].shape == (1 * 9,)
