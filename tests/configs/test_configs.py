"""Every config works and is what its name and its table row say."""

import copy
import functools
import re

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.fileio import load
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from shapes_data.scenes import CLASSES
from support.helpers import CONFIGS
from support.small_models import shrink

ALL = sorted(
    path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts
)
TABLES = load(CONFIGS / 'paper_tables.yml')
MASK_OPTIONS = {
    'c33x4': lambda h: h.encoder.type == 'ConsecutiveConvs',
    'c33-1246': lambda h: (
        h.encoder.get('kernels') == (3, 3, 3, 3)
        and h.encoder.dilations == (1, 2, 4, 6)
    ),
    'no-shortcut': lambda h: h.decoder.type == 'SinglePixelDecoder',
    'overlap-50': lambda h: h.sampler.get('threshold') == 0.5,
    'plus-every-object': lambda h: h.sampler.type == 'EveryObjectPixelSampler',
    'plus-box': lambda h: (
        h.encoder.type == 'BoxGrid' and h.sampler.type == 'JitteredBoxSampler'
    ),
}

BOX_HEADS = {
    'atss': 'ATSSHead',
    'centernet': 'CenterNetUpdateHead',
    'ddod': 'DDODHead',
    'fcos': 'FCOSHead',
    'gfl': 'GFLHead',
    'paa': 'PAAHead',
    'tood': 'TOODHead',
    'vfnet': 'VFNetHead',
}
# Detectors whose name says backbone, neck and head: types, widen_factor
WHOLE = {
    'rtmdet-tiny': ('CSPNeXt', 'CSPNeXtPAFPN', 'RTMDetSepBNHead', 0.375),
    'rtmdet-s': ('CSPNeXt', 'CSPNeXtPAFPN', 'RTMDetSepBNHead', 0.5),
    'yolox-tiny': ('CSPDarknet', 'YOLOXPAFPN', 'YOLOXHead', 0.375),
}

read = functools.cache(Config.fromfile)
every_config = pytest.mark.parametrize(
    'config', ALL, ids=lambda path: str(path.relative_to(CONFIGS))
)


def small(config, data_root):
    """Shrink a config for a quick run on the shapes.

    Images of 96 pixels, few channels, few proposals, and detections of any
    score.
    """
    cfg = copy.deepcopy(read(config))
    model = shrink(cfg.model)
    heads = [model.get('bbox_head')]
    if 'roi_head' in model:
        heads = [model.roi_head.bbox_head, model.roi_head.mask_head]
        model.train_cfg.rcnn.sampler.num = 16
    model.test_cfg.get('rcnn', model.test_cfg).score_thr = 0.0
    # An untrained RTMDet tiny's boxes may all be empty.
    model.test_cfg.min_bbox_size = -1
    for head in heads:
        head.num_classes = len(CLASSES)
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        inner = loader.dataset.get('dataset', loader.dataset)
        inner.data_root = str(data_root)
        inner.ann_file = f'annotations/instances_{split}2017.json'
        inner.data_prefix = dict(img=f'{split}2017/')
        inner.metainfo = dict(classes=CLASSES)
        for transform in loader.dataset.pipeline:
            for option in ('scale', 'img_scale', 'crop_size', 'size'):
                if option in transform:
                    transform[option] = (96, 96)
    return cfg


@pytest.fixture(scope='module')
def passed():
    """What the configs that passed `test_trains_a_step_and_predicts` run."""
    return []


@every_config
def test_trains_a_step_and_predicts(config, shapes, passed):
    cfg = small(config, shapes)
    datasets = [
        loader.dataset for loader in (cfg.train_dataloader, cfg.val_dataloader)
    ]
    parts = [x.to_dict() for x in (cfg.model, cfg.optim_wrapper, *datasets)]
    if parts in passed:  # it differs by its image size or its schedule only
        return
    if cfg.model.get('bbox_head', {}).get('type') == 'PAAHead':
        pytest.importorskip('sklearn')  # which trains it
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {k: v.clone() for k, v in model.state_dict().items()}

    train, val = map(DATASETS.build, datasets)
    hub = MessageHub.get_current_instance()  # some heads and steps ask it
    hub.update_info_dict(dict(epoch=0, iter=0))
    losses = model.train().train_step(
        pseudo_collate([train[i] for i in range(4)]), optimizer
    )
    assert all(torch.isfinite(loss) for loss in losses.values())
    has_masks = cfg.model.type != 'RetinaNet'
    assert ('loss_mask' in losses) == has_masks
    trained = {
        name.split('.')[0]
        for name, value in model.state_dict().items()
        if not torch.equal(before[name], value)
    }
    if cfg.model.type == 'FrozenSPRNet':
        assert trained == {'mask_head'}
    else:
        assert trained == {name.split('.')[0] for name in before}

    with torch.no_grad():
        (result,) = model.eval().test_step(pseudo_collate([val[0]]))
    detections = result.pred_instances
    assert len(detections) > 0
    assert detections.bboxes.shape == (len(detections), 4)
    assert ('masks' in detections) == has_masks
    if has_masks:
        assert detections.masks.shape == (len(detections), 96, 96)
    passed.append(parts)


@every_config
def test_contents_agree_with_the_name(config):
    cfg, words = read(config), config.stem.split('_')
    model = cfg.model
    detector = {
        'sprnet': 'SPRNet',
        'retinanet': 'RetinaNet',
        'mask-rcnn': 'MaskRCNN',
        'rtmdet-ins-tiny': 'RTMDet',
    }[words[0]]
    if 'frozen' in words:
        detector = 'FrozenSPRNet'
        assert cfg.load_from
    assert model.type == detector
    for option, holds in MASK_OPTIONS.items() if 'mask_head' in model else ():
        assert holds(model.mask_head) == (option in words), option
    if detector == 'RTMDet':
        assert model.bbox_head.type == 'RTMDetInsSepBNHead'
        return
    if words[1] in WHOLE:
        parts = model.backbone, model.neck, model.bbox_head
        types = tuple(part.type for part in parts)
        assert (*types, model.backbone.widen_factor) == WHOLE[words[1]]
        return
    if words[1] in BOX_HEADS:
        assert model.bbox_head.type == BOX_HEADS[words.pop(1)]
    elif detector != 'MaskRCNN':
        assert model.bbox_head.type == 'RetinaHead'

    backbone = model.backbone
    if words[1] == 'r18':
        assert backbone.depth == 18 and backbone.base_channels == 32
    elif re.fullmatch(r'r\d+', words[1]):
        assert backbone.type == 'ResNet' and f'r{backbone.depth}' == words[1]
    else:
        kind = dict(
            swin='SwinTransformer',
            pvtv2='PyramidVisionTransformerV2',
            regnetx='RegNet',
            efficientnet='EfficientNetLite0',
        )[words[1].split('-')[0]]
        assert backbone.type == kind

    if 'bbox_head' in model:
        towers = model.bbox_head.stacked_convs, model.bbox_head.feat_channels
        light = (2, 24) if words[1] == 'r18' else (2, 96)
        assert (towers == light) == ('light' in words)

    neck, _, variant = words[2].partition('-')
    assert model.neck.type == dict(
        fpn='FPN', gfpn='PooledGFPN' if variant == 'pooled' else 'GFPN'
    ).get(neck)
    gates = ('tanh', 'square', 'relu-tanh')
    gate = variant.replace('-', '_') if variant in gates else 'sigmoid'
    assert model.neck.get('gate', 'sigmoid') == gate
    assert model.neck.get('share_gate', False) == (variant == 'shared')
    assert model.neck.get('gate_init', 'learned') == (
        'open' if variant == 'open' else 'learned'
    )

    if 'mask_head' in model:
        if words[1] not in ('r18', 'r34', 'efficientnet-lite0'):
            assert model.mask_head.decoder.channels == 256
        if 'plus-box' not in words:
            assert model.mask_head.sampler.max_pixels == 300


@every_config
def test_recipe_agrees_with_the_name(config):
    cfg, name = read(config), config.stem
    train, test = (
        {t.type: t for t in loader.dataset.pipeline}
        for loader in (cfg.train_dataloader, cfg.test_dataloader)
    )
    optimizer = cfg.optim_wrapper.optimizer
    assert cfg.test_evaluator.type == 'CocoAPARMetric'
    assert cfg.test_evaluator == cfg.val_evaluator
    assert cfg.default_hooks.checkpoint.type == 'WholeCheckpointHook'
    hooks = {hook.type for hook in cfg.default_hooks.values()}
    assert hooks >= {'NumClassCheckHook', 'EpochSeedHook', 'FiniteLossHook'}
    assert cfg.env_cfg.dist_cfg == dict(backend='nccl', timeout=600)
    assert cfg.tta_model.type == 'MaskTTAModel'
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        inner = loader.dataset.get('dataset', loader.dataset)
        assert inner.type == 'CheckedCocoDataset'
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator.metric == (
        'bbox' if cfg.model.type == 'RetinaNet' else ['bbox', 'segm']
    )
    if '300e' in name:
        assert cfg.data_root == 'data/coco/'
        assert cfg.train_cfg.max_epochs == 300
        assert test['Resize'].scale in ((640, 640), (416, 416))
        return
    assert train['Resize'].scale == test['Resize'].scale
    if 'shapes' in name:
        assert optimizer.type == 'AdamW'
        side = int((re.findall(r'shapes-(\d+)', name) or [192])[0])
        assert train['Resize'].scale == (side, side)
        assert cfg.data_root == 'data/shapes/'
        assert cfg.param_scheduler[1].end == cfg.train_cfg.max_epochs
        for loader in (cfg.train_dataloader, cfg.test_dataloader):
            assert loader.dataset.metainfo.classes == CLASSES
        return
    if name.endswith(('_own', '_nuclei')):
        kind = dict(type='AdamW', lr=1e-3, weight_decay=0.05, fused=True)
        assert optimizer == kind
        assert cfg.data_root == f'data/{name.rpartition("_")[2]}/'
        assert cfg.param_scheduler[1].end == cfg.train_cfg.max_epochs
        return
    assert cfg.data_root == 'data/coco/'
    if 'paper' in name:
        short = int(re.search(r'paper-(\d+)', name).group(1))
        assert train['Resize'].scale == (round(1333 * short / 800), short)
        assert optimizer == dict(type='Adam', lr=1e-5)
        assert cfg.optim_wrapper.clip_grad.max_norm == 1e-3
        assert cfg.train_cfg.max_epochs == 25
        assert cfg.train_dataloader.batch_size == 1
        assert 'RandomFlip' not in train
        assert cfg.model.bbox_head.loss_bbox.type == 'SmoothL1Loss'
        assert cfg.model.bbox_head.loss_bbox.beta == 1 / 9
        assert cfg.model.backbone.frozen_stages == -1
    else:
        assert '1x' in name
        assert cfg.train_cfg.max_epochs == 12
        assert 'RandomFlip' in train
    if cfg.model.backbone.type == 'ResNet' and not {
        'fcos',
        'centernet',
    } & set(name.split('_')):
        pretrained = f'torchvision://resnet{cfg.model.backbone.depth}'
        assert cfg.model.backbone.init_cfg.checkpoint == pretrained


def row_params():
    """Each row that has configs: its table, and a pair of twins."""
    for table in TABLES:
        for number, row in enumerate(table['rows']):
            for part in ('segm', 'bbox'):
                pair = [row.get(data) for data in ('coco', 'shapes')]
                pair = [p[part] if isinstance(p, dict) else p for p in pair]
                if any(pair):
                    yield pytest.param(
                        table,
                        row,
                        *pair,
                        id=f'{table["table"]}-{number}-{part}',
                    )


@pytest.mark.parametrize('table,row,coco,shapes', row_params())
def test_a_row_agrees_with_its_configs(table, row, coco, shapes):
    labels = dict(zip(table['columns'], row['labels']))
    twins = [read(CONFIGS / p).model for p in (coco, shapes) if p]
    if coco and 'backbone' in labels:
        depth, neck = labels['backbone'].split('-')[1:]
        assert f'_r{depth}_{neck.lower()}_' in coco
    if coco and 'scale' in labels and 'paper' in coco:
        assert f'_paper-{labels["scale"]}_' in coco
    if len(twins) < 2:
        return
    for part, *keys in (
        ('type',),
        ('neck', 'type'),
        ('neck', 'gate'),
        ('neck', 'share_gate'),
        ('neck', 'gate_init'),
        ('mask_head', 'encoder', 'type'),
        ('mask_head', 'encoder', 'kernels'),
        ('mask_head', 'encoder', 'dilations'),
        ('mask_head', 'sampler', 'threshold'),
        ('mask_head', 'decoder', 'type'),
    ):
        values = [model.get(part, {}) for model in twins]
        for key in keys:
            values = [value.get(key, {}) for value in values]
        assert values[0] == values[1], (part, *keys)


def test_every_config_of_coco_has_its_twin():
    stems = {path.stem for path in ALL}
    for path in ALL:
        match = re.fullmatch(
            r'(\w[\w-]*?)_r50_(.+)_paper-(\d+)_coco', path.stem
        )
        if match:
            detector, rest, _ = match.groups()
            assert f'{detector}_r18_{rest}_shapes' in stems, path.stem


def test_variants_are_options():
    cfg = Config.fromfile(CONFIGS / 'sprnet_r18_gfpn_shapes.py')
    cfg.merge_from_dict(
        {
            'model.neck': dict(gate='tanh', gate_init='open', share_gate=True),
            'model.mask_head.sampler': dict(
                type='EveryObjectPixelSampler', threshold=0.5, max_pixels=7
            ),
            'model.test_cfg.mask_thr_binary': 0.4,
        }
    )
    model = MODELS.build(cfg.model)
    assert len(model.neck.gates) == 1
    assert model.mask_head.sampler.max_pixels == 7
    assert model.mask_head.mask_threshold == 0.4


def test_own_custom_hooks_do_not_replace_the_default_hooks(tmp_path):
    path = tmp_path / 'own.py'
    path.write_text(
        f"_base_ = '{CONFIGS}/sprnet_r18_gfpn_shapes.py'\n"
        "custom_hooks = [dict(type='EMAHook')]\n"
        f"work_dir = '{tmp_path}'\n"
    )
    cfg = Config.fromfile(path)
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = None
    cfg.param_scheduler = None
    hooks = {type(hook).__name__ for hook in Runner.from_cfg(cfg).hooks}
    assert hooks >= {
        'EMAHook',
        'NumClassCheckHook',
        'EpochSeedHook',
        'FiniteLossHook',
        'WholeCheckpointHook',
    }
