import pytest
import torch
from helpers import CONFIGS
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from shapes import CLASSES

ALL = sorted(CONFIGS.glob('*.py'))
NAMES = {path.stem for path in ALL}


def small(config, data_root):
    """The config on small images of the shapes, without weights to load."""
    cfg = Config.fromfile(config)
    cfg.model.backbone.init_cfg = None
    cfg.model.bbox_head.num_classes = len(CLASSES)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = str(data_root)
        loader.dataset.metainfo = dict(classes=CLASSES)
        for transform in loader.dataset.pipeline:
            if transform.type == 'Resize':
                transform.scale = (96, 96)
    return cfg


@pytest.mark.parametrize('config', ALL, ids=lambda path: path.stem)
def test_builds_trains_a_step_and_predicts(config, shapes):
    cfg = small(config, shapes)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {k: v.clone() for k, v in model.state_dict().items()}

    train = DATASETS.build(cfg.train_dataloader.dataset)
    batch = pseudo_collate([train[i] for i in range(6)])
    losses = model.train().train_step(batch, optimizer)
    assert {'loss', 'loss_cls', 'loss_bbox', 'loss_mask'} <= set(losses)
    assert all(torch.isfinite(loss) for loss in losses.values())
    after = model.state_dict()
    for part in ('backbone.layer4', 'neck', 'bbox_head', 'mask_head'):
        assert any(
            not torch.equal(before[k], after[k])
            for k in before
            if k.startswith(part)
        ), part

    val = DATASETS.build(cfg.val_dataloader.dataset)
    model.bbox_head.test_cfg.score_thr = 0.0
    with torch.no_grad():
        (result,) = model.eval().test_step(pseudo_collate([val[0]]))
    found = result.pred_instances
    assert found.masks.shape == (len(found), 96, 96)
    assert len(found) == 100 and found.masks.dtype == torch.bool


def test_these_configs_are_there():
    assert {
        'sprnet_r18_gfpn_shapes',
        'sprnet_r50_fpn_1x_coco',
        'sprnet_r50_gfpn_1x_coco',
        'sprnet_r50_fpn_paper-500_coco',
        'sprnet_r50_gfpn_paper-500_coco',
        'sprnet_r50_gfpn_paper-800_coco',
        'sprnet_r101_gfpn_paper-800_coco',
    } == NAMES


@pytest.mark.parametrize('config', ALL, ids=lambda path: path.stem)
def test_contents_agree_with_the_name(config):
    cfg, name = Config.fromfile(config), config.stem
    depth, neck = name.split('_')[1:3]
    assert cfg.model.type == 'SPRNet'
    assert cfg.model.bbox_head.type == 'RetinaHead'
    assert cfg.model.backbone.depth == int(depth[1:])
    assert cfg.model.neck.type == neck.upper()
    head = cfg.model.mask_head
    assert head.sampler.threshold == 0.7 and head.sampler.max_pixels == 300
    assert head.decoder.type == 'ShortcutPixelDecoder'
    assert head.encoder.dilations == (1, 2, 4, 6)
    transforms = [t.type for t in cfg.train_dataloader.dataset.pipeline]
    if depth != 'r18':
        pretrained = cfg.model.backbone.init_cfg.checkpoint
        assert pretrained == f'torchvision://resnet{depth[1:]}'
        assert head.encoder.channels == (256, 128, 128, 128)
        assert head.decoder.channels == 256
        assert cfg.model.bbox_head.num_classes == 80
        assert cfg.data_root == 'data/coco/'
    if 'paper' in name:
        short = int(name.split('paper-')[1].split('_')[0])
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            (scale,) = (
                t.scale for t in loader.dataset.pipeline if t.type == 'Resize'
            )
            assert min(scale) == short
            assert max(scale) == round(1333 * short / 800)
        assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=1e-5)
        assert cfg.optim_wrapper.clip_grad.max_norm == 1e-3
        assert cfg.train_cfg.max_epochs == 25
        assert 'RandomFlip' not in transforms
        assert cfg.model.bbox_head.loss_bbox.type == 'SmoothL1Loss'
        assert cfg.model.bbox_head.loss_bbox.beta == 1 / 9
    if '1x' in name:
        assert cfg.optim_wrapper.optimizer.type == 'SGD'
        assert cfg.optim_wrapper.optimizer.lr == 0.01
        assert cfg.train_cfg.max_epochs == 12
        assert cfg.train_dataloader.batch_size == 2
        assert 'RandomFlip' in transforms


def test_the_shapes_config_knows_the_generators_classes():
    cfg = Config.fromfile(CONFIGS / 'sprnet_r18_gfpn_shapes.py')
    for loader in (
        cfg.train_dataloader,
        cfg.val_dataloader,
        cfg.test_dataloader,
    ):
        assert loader.dataset.metainfo.classes == CLASSES
    assert cfg.model.bbox_head.num_classes == len(CLASSES)


@pytest.mark.parametrize(
    'options,check',
    [
        (
            dict(neck=dict(gate='tanh', gate_init='open', share_gate=True)),
            lambda m: len(m.neck.gates) == 1,
        ),
        (
            dict(neck=dict(type='PooledGFPN')),
            lambda m: len(m.neck.fpn_convs) == 4,
        ),
        (
            dict(mask_head=dict(decoder=dict(type='SinglePixelDecoder'))),
            lambda m: (
                type(m.mask_head.decoder).__name__ == 'SinglePixelDecoder'
            ),
        ),
        (
            dict(
                mask_head=dict(
                    sampler=dict(
                        type='EveryObjectPixelSampler',
                        threshold=0.5,
                        max_pixels=7,
                    )
                )
            ),
            lambda m: m.mask_head.sampler.max_pixels == 7,
        ),
        (
            dict(
                mask_head=dict(
                    encoder=dict(channels=(8,) * 4, kernels=(3,) * 4)
                )
            ),
            lambda m: m.mask_head.encoder.out_channels == 32,
        ),
        (
            dict(test_cfg=dict(mask_thr_binary=0.4)),
            lambda m: m.mask_head.mask_threshold == 0.4,
        ),
    ],
)
def test_variants_are_options(options, check):
    cfg = Config.fromfile(CONFIGS / 'sprnet_r18_gfpn_shapes.py')
    cfg.merge_from_dict(dict(model=options))
    assert check(MODELS.build(cfg.model))
