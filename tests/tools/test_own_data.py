"""The config and commands of OWN_DATA.md."""

import re
import runpy
import shlex
import sys

import cv2
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from pycocotools.coco import COCO
from support.annotated import drawing, shape
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
