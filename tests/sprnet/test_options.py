"""A wrong option is refused when the model is built.

The error names the class, the option and its value, and says what is allowed.
"""

import copy
import inspect

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config
from support.helpers import NAN, SHAPES_CONFIG

from projects.sprnet.gfpn import GFPN

CONFIG = Config.fromfile(SHAPES_CONFIG)
REQUIRED = dict(
    GFPN=dict(in_channels=[4, 6], out_channels=5, num_outs=2),
    PooledGFPN=dict(in_channels=[4, 6], out_channels=5, num_outs=2),
    SinglePixelDecoder=dict(num_classes=3),
    ShortcutPixelDecoder=dict(num_classes=3),
)
SAMPLERS = ('OverlapLocationSampler', 'EveryObjectLocationSampler')
SAMPLERS = (*SAMPLERS, 'JitteredBoxSampler')


def build(kind, **options):
    registry = TASK_UTILS if kind in SAMPLERS else MODELS
    return registry.build(dict(REQUIRED.get(kind, {}), type=kind, **options))


WRONG = [
    ('GFPN', 'gate', ['softmax', ['tanh']]),
    ('PooledGFPN', 'gate', ['softmax']),
    ('GFPN', 'gate_init', ['closed', True]),
    ('GFPN', 'share_gate', ['no', 1]),
    ('OverlapLocationSampler', 'threshold', [-0.1, 1, 1.5, '0.7']),
    ('OverlapLocationSampler', 'max_locations', [0, 2.5, '300']),
    ('JitteredBoxSampler', 'copies', [0]),
    ('JitteredBoxSampler', 'max_boxes', [1.5]),
    ('JitteredBoxSampler', 'std', [0.25, -0.1, '0.1']),
    ('MultiScaleFusion', 'dilations', [(0, 2, 4, 6), 6, (1, 2)]),
    ('MultiScaleFusion', 'channels', [(96, '64', 64, 64), (0, 1, 1, 1)]),
    ('MultiScaleFusion', 'kernels', [(1, 2, 3, 3), (1, 3), ()]),
    ('ConsecutiveConvs', 'num_convs', [0]),
    ('ConsecutiveConvs', 'channels', [0]),
    ('SinglePixelDecoder', 'channels', [0, '64']),
    ('BoxGrid', 'out_channels', [0]),
    ('BoxGrid', 'fine_stride', [0, 4.5]),
    ('BoxGrid', 'num_convs', [-1]),
    ('BoxGrid', 'strides', [8, (8, 0)]),
]


@pytest.mark.parametrize(
    'kind,option,value',
    [(k, option, value) for k, option, values in WRONG for value in values],
)
def test_a_wrong_value_is_named(kind, option, value):
    with pytest.raises(ValueError) as error:
        build(kind, **{option: value})
    assert str(error.value).startswith(f'{kind}: {option}={value!r} must be ')


def every_option():
    for kind in (
        'MultiScaleFusion',
        'ConsecutiveConvs',
        'SinglePixelDecoder',
        'ShortcutPixelDecoder',
        'BoxGrid',
        *SAMPLERS,
    ):
        registry = TASK_UTILS if kind in SAMPLERS else MODELS
        for option in inspect.signature(registry.get(kind)).parameters:
            if option not in ('init_cfg', 'norm_cfg'):
                yield kind, option


@pytest.mark.parametrize('kind,option', every_option())
@pytest.mark.parametrize('value', [None, {}, '3', True, -1, NAN, [[3]]])
def test_no_option_takes_just_anything(kind, option, value):
    with pytest.raises(ValueError, match=f'^{kind}: .*{option}=.* must '):
        build(kind, **{option: value})


def build_model(**options):
    """Build the model on a small backbone."""
    cfg = copy.deepcopy(CONFIG)
    cfg.merge_from_dict({f'model.{k}': v for k, v in options.items()})
    cfg.model.backbone.base_channels = 1
    return MODELS.build(cfg.model)


BOXES = dict(type='JitteredBoxSampler', _delete_=True)


def anchors(kind, **options):
    return dict(type=kind, strides=[4, 8, 16, 32, 64], **options)


@pytest.mark.parametrize(
    'prefix,options',
    [
        ("encoder='MultiScaleFusion'", {'encoder': 'MultiScaleFusion'}),
        ('encoder.in_channels=256 must be 64', {'encoder.in_channels': 256}),
        ('decoder.in_channels=640 must be 288', {'decoder.in_channels': 640}),
        ('decoder.num_classes=80 must be 6', {'decoder.num_classes': 80}),
        ('loss_mask.use_sigmoid=False', {'loss_mask.use_sigmoid': False}),
        ("loss_mask.reduction='sum'", {'loss_mask.reduction': 'sum'}),
        (
            "sampler.type='JitteredBoxSampler' must be one that chooses "
            'locations, as encoder.type=MultiScaleFusion reads them',
            {'sampler': BOXES},
        ),
        (
            "sampler.type='OverlapLocationSampler' must be one that chooses "
            'boxes, as encoder.type=BoxGrid reads them',
            {'encoder': dict(type='BoxGrid', _delete_=True)},
        ),
        ('frame=0', {'frame': 0}),
        ('frame=-1.1', {'frame': -1.1}),
        ("frame='1.1'", {'frame': '1.1'}),
        ('frame=nan', {'frame': NAN}),
        (
            'anchor_generator.num_base_anchors=[]',
            {'anchor_generator': anchors('MlvlPointGenerator')},
        ),
        (
            'anchor_generator.num_base_anchors=[4, 6]',
            {
                'anchor_generator': dict(
                    type='SSDAnchorGenerator',
                    strides=[8, 16],
                    ratios=[[2], [2, 3]],
                    min_sizes=[16, 32],
                    max_sizes=[32, 64],
                )
            },
        ),
    ],
)
def test_the_mask_head_names_a_wrong_option(prefix, options):
    with pytest.raises(ValueError) as error:
        build_model(**{f'mask_head.{k}': v for k, v in options.items()})
    assert str(error.value).startswith(f'SPRHead: {prefix}')
    assert ' must be ' in str(error.value)


@pytest.mark.parametrize(
    'option,value',
    [
        ('train_cfg.mask_size', 28),
        ('test_cfg.mask_thr_binary', 1.5),
        ('test_cfg.mask_thr_binary', '0.5'),
        ('test_cfg.mask_thr_binary', NAN),
    ],
)
def test_a_wrong_setting_is_named(option, value):
    with pytest.raises(ValueError) as error:
        build_model(**{option: value})
    assert str(error.value).startswith(f'SPRHead: {option}={value!r} must be ')


@pytest.mark.parametrize(
    'part,kind,expected',
    [
        ('sampler', 'RandomLocationSampler', 'JitteredBoxSampler'),
        ('encoder', 'MultiScaleFushion', 'BoxGrid'),
        ('decoder', 'PixelReconstruction', 'ShortcutPixelDecoder'),
        ('mask_output', 'PolygonMasks', 'RLEMasks'),
    ],
)
def test_an_unknown_type_is_named_beside_those_of_the_project(
    part, kind, expected
):
    with pytest.raises(ValueError) as error:
        build_model(**{f'mask_head.{part}.type': kind})
    (message,) = error.value.args
    assert message.startswith(f'SPRHead: {part}.type={kind!r} ')
    assert repr(expected) in message


@pytest.mark.parametrize(
    'option,value,source,options',
    [
        (
            'mask_head.num_classes',
            80,
            'bbox_head.num_classes=6',
            {'mask_head.num_classes': 80},
        ),
        (
            'bbox_head.in_channels',
            64,
            'neck.out_channels=32',
            {'neck.out_channels': 32},
        ),
        (
            'mask_head.in_channels',
            32,
            'neck.out_channels=64',
            {'mask_head.in_channels': 32},
        ),
        (
            'mask_head.encoder.strides',
            [(4, 4), (8, 8)],
            'bbox_head.prior_generator.strides=[(8, 8), ',
            {
                'mask_head.encoder': dict(
                    type='BoxGrid', strides=(4, 8), _delete_=True
                ),
                'mask_head.sampler': BOXES,
            },
        ),
        (
            'mask_head.prior_generator.strides',
            [(4, 4), (8, 8), (16, 16), (32, 32), (64, 64)],
            'bbox_head.prior_generator.strides=[(8, 8), ',
            {
                'mask_head.anchor_generator': anchors(
                    'AnchorGenerator', ratios=[1.0], scales=[4]
                )
            },
        ),
        (
            'bbox_head.prior_generator.num_levels',
            5,
            'neck.num_outs=4',
            {'neck.num_outs': 4},
        ),
    ],
)
@pytest.mark.parametrize('kind', ['SPRNet', 'FrozenSPRNet'])
def test_parts_that_do_not_fit_are_named(kind, option, value, source, options):
    with pytest.raises(ValueError) as error:
        build_model(type=kind, **options)
    message = f'{kind}: {option}={value} must be {source}'
    assert str(error.value).startswith(message)


def test_a_sampler_of_locations_needs_anchors():
    cfg = copy.deepcopy(CONFIG.model.mask_head)
    with pytest.raises(ValueError, match='OverlapLocationSampler.*anchor_gen'):
        MODELS.build(dict(cfg, num_classes=6, in_channels=64))


def test_a_misspelt_option_is_named():
    with pytest.raises(TypeError, match="Fusion.*argument 'dilation'"):
        build('MultiScaleFusion', dilation=2)


@pytest.mark.parametrize('channels', [[4, 6], [4, 8, 6]])
def test_a_backbone_of_other_channels_than_the_neck(channels):
    """GFPN checks them when it receives the maps."""
    maps = [torch.zeros(1, c, 4, 4) for c in channels]
    with pytest.raises(ValueError) as error:
        GFPN([4, 6, 8], 5, 3)(maps)
    message = f'GFPN: in_channels=[4, 6, 8] must be {channels}'
    assert str(error.value).startswith(message)
