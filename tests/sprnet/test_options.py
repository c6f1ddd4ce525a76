"""A wrong option is named when the model is built, with what is allowed."""

import copy
import inspect

import pytest
import torch
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config
from support.helpers import SHAPES_CONFIG

from projects.sprnet.gfpn import GFPN

NAN = float('nan')
HEAD, SAMPLER, ENCODER, DECODER, LOSS = (
    f'mask_head{part}'
    for part in ('', '.sampler', '.encoder', '.decoder', '.loss_mask')
)
WRONG = [
    (
        {'neck.gate': 'softmax'},
        "GFPN: gate='softmax' is none of 'sigmoid', 'tanh', 'square', "
        "'relu_tanh'",
    ),
    (
        {'neck.type': 'PooledGFPN', 'neck.gate': ['tanh']},
        "PooledGFPN: gate=['tanh'] is none of 'sigmoid', 'tanh', 'square', "
        "'relu_tanh'",
    ),
    (
        {'neck.gate_init': 'closed'},
        "GFPN: gate_init='closed' is none of 'learned', 'open'",
    ),
    (
        {'neck.share_gate': 'no'},
        "GFPN: share_gate='no' must be True or False",
    ),
    *(
        (
            {f'{SAMPLER}.threshold': value},
            f'OverlapPixelSampler: threshold={value!r} must be a number of '
            'at least 0 and below 1',
        )
        for value in (-0.1, 1, '0.7', NAN, True, None)
    ),
    *(
        (
            {f'{SAMPLER}.max_pixels': value},
            f'OverlapPixelSampler: max_pixels={value!r} must be at least 1 '
            'and whole',
        )
        for value in (0, 2.5, '300')
    ),
    (
        {f'{SAMPLER}.type': 'RandomPixelSampler'},
        "SPRHead: sampler.type='RandomPixelSampler' is not registered; the "
        "types of this project are 'OverlapPixelSampler', "
        "'EveryObjectPixelSampler', 'JitteredBoxSampler'",
    ),
    (
        {ENCODER: 'MultiScaleFusion'},
        "SPRHead: encoder='MultiScaleFusion' must be a dict with a type",
    ),
    (
        {f'{ENCODER}.type': 'MultiScaleFushion'},
        "SPRHead: encoder.type='MultiScaleFushion' is not registered; the "
        "types of this project are 'MultiScaleFusion', 'ConsecutiveConvs', "
        "'BoxGrid'",
    ),
    (
        {f'{ENCODER}.dilations': [0, 2, 4, 6]},
        'MultiScaleFusion: dilations=[0, 2, 4, 6] must all be at least 1 and '
        'whole',
    ),
    (
        {f'{ENCODER}.dilations': 6},
        'MultiScaleFusion: dilations=6 must be a list',
    ),
    (
        {f'{ENCODER}.channels': [96, '64', 64, 64]},
        "MultiScaleFusion: channels=[96, '64', 64, 64] must all be at least "
        '1 and whole',
    ),
    (
        {f'{ENCODER}.kernels': [1, 2, 3, 3]},
        'MultiScaleFusion: kernels=[1, 2, 3, 3] must all be odd',
    ),
    (
        {f'{ENCODER}.kernels': [1, 3]},
        'MultiScaleFusion: channels=(96, 64, 64, 64), kernels=[1, 3] and '
        'dilations=(1, 2, 4, 6) must be equally many, at least one',
    ),
    (
        {f'{ENCODER}.in_channels': 256},
        'SPRHead: encoder.in_channels=256 must be 64, or be left out',
    ),
    (
        {f'{DECODER}.type': 'PixelReconstruction'},
        "SPRHead: decoder.type='PixelReconstruction' is not registered; the "
        "types of this project are 'SinglePixelDecoder', "
        "'ShortcutPixelDecoder'",
    ),
    (
        {f'{DECODER}.channels': '64'},
        "ShortcutPixelDecoder: channels='64' must be at least 1 and whole",
    ),
    (
        {f'{DECODER}.num_relu': -1},
        'ShortcutPixelDecoder: num_relu=-1 must be at least 0 and whole',
    ),
    (
        {f'{DECODER}.in_channels': 640},
        'SPRHead: decoder.in_channels=640 must be 288, or be left out',
    ),
    (
        {f'{DECODER}.num_classes': 80},
        'SPRHead: decoder.num_classes=80 must be 6, or be left out',
    ),
    (
        {'train_cfg.mask_size': 28},
        'SPRHead: train_cfg.mask_size=28 must be 32, what the decoder makes: '
        '2 ** (num_linear + num_relu)',
    ),
    (
        {f'{LOSS}.use_sigmoid': False},
        'SPRHead: loss_mask.use_sigmoid=False must be True: a cell is in the '
        'mask or not',
    ),
    (
        {f'{LOSS}.reduction': 'sum'},
        "SPRHead: loss_mask.reduction='sum' must be 'mean': it is averaged "
        'over pixels and cells',
    ),
    (
        {f'{HEAD}.mask_output.type': 'PolygonMasks'},
        "SPRHead: mask_output.type='PolygonMasks' is not registered; the "
        "types of this project are 'DenseMasks', 'RLEMasks'",
    ),
    (
        {
            f'{HEAD}.anchor_generator': dict(
                type='MlvlPointGenerator', strides=[8, 16, 32, 64, 128]
            )
        },
        'SPRHead: anchor_generator must give equally many anchors at every '
        'level, not []',
    ),
    *(
        (
            {'test_cfg.mask_thr_binary': value},
            f'SPRHead: test_cfg.mask_thr_binary={value!r} must lie in 0..1',
        )
        for value in (1.5, '0.5', NAN)
    ),
    *(
        (
            {f'{HEAD}.frame': value},
            f'SPRHead: frame={value!r} must be a number above 0',
        )
        for value in (0, -1.1, '1.1', NAN)
    ),
    *(
        (
            {ENCODER: dict(type='BoxGrid', _delete_=True, **{option: value})},
            f'BoxGrid: {option}={value!r} must be {allowed}',
        )
        for option, value, allowed in (
            ('out_channels', 0, 'at least 1 and whole'),
            ('grid_size', 0, 'at least 1 and whole'),
            ('grid_size', 7.5, 'at least 1 and whole'),
            ('samples', '2', 'at least 1 and whole'),
            ('num_convs', -1, 'at least 0 and whole'),
            ('finest_scale', 0, 'a number above 0'),
            ('finest_scale', NAN, 'a number above 0'),
            ('strides', 8, 'a list of whole numbers of at least 1'),
            ('strides', (8, 0), 'a list of whole numbers of at least 1'),
        )
    ),
    (
        {ENCODER: dict(type='BoxGrid', strides=(4, 8), _delete_=True)},
        'SPRNet: mask_head.encoder.strides=[(4, 4), (8, 8)] must be '
        'mask_head.anchor_generator.strides=[(8, 8), (16, 16), (32, 32), '
        '(64, 64), (128, 128)]',
    ),
    *(
        (
            {SAMPLER: dict(type='JitteredBoxSampler', _delete_=True, **wrong)},
            f'JitteredBoxSampler: {option}={value!r} must be {allowed}',
        )
        for wrong in (
            dict(copies=0),
            dict(max_boxes=1.5),
            dict(std=0.25),
            dict(std=-0.1),
            dict(std='0.1'),
        )
        for option, value in wrong.items()
        for allowed in [
            'a number of at least 0 and below 0.25'
            if option == 'std'
            else 'at least 1 and whole'
        ]
    ),
    (
        {f'{HEAD}.num_classes': 80},
        'SPRNet: mask_head.num_classes=80 must be bbox_head.num_classes=6',
    ),
    (
        {'neck.out_channels': 32},
        'SPRNet: bbox_head.in_channels=64 must be neck.out_channels=32',
    ),
    (
        {f'{HEAD}.in_channels': 32, 'type': 'FrozenSPRNet'},
        'FrozenSPRNet: mask_head.in_channels=32 must be neck.out_channels=64',
    ),
    (
        {
            f'{HEAD}.anchor_generator': dict(
                type='AnchorGenerator',
                strides=[4, 8, 16, 32, 64],
                ratios=[1.0],
                scales=[4],
            )
        },
        'SPRNet: mask_head.anchor_generator.strides='
        '[(4, 4), (8, 8), (16, 16), (32, 32), (64, 64)] must be '
        'bbox_head.prior_generator.strides='
        '[(8, 8), (16, 16), (32, 32), (64, 64), (128, 128)]',
    ),
    (
        {'neck.num_outs': 4},
        'SPRNet: mask_head.anchor_generator.num_levels=5 must be '
        'neck.num_outs=4',
    ),
]


CONFIG = Config.fromfile(SHAPES_CONFIG)


def build(**options):
    """The model, behind a backbone that takes no time."""
    cfg = copy.deepcopy(CONFIG)
    cfg.merge_from_dict({f'model.{k}': v for k, v in options.items()})
    cfg.model.backbone.base_channels = 1
    return MODELS.build(cfg.model)


@pytest.mark.parametrize('options,sentence', WRONG)
def test_the_sentence(options, sentence):
    with pytest.raises((ValueError, KeyError)) as error:
        build(**options)
    assert error.value.args == (sentence,)


NUMBERS = [
    (MODELS, 'MultiScaleFusion', {}),
    (MODELS, 'ConsecutiveConvs', {}),
    (MODELS, 'SinglePixelDecoder', dict(num_classes=3)),
    (MODELS, 'ShortcutPixelDecoder', dict(num_classes=3)),
    (TASK_UTILS, 'OverlapPixelSampler', {}),
    (TASK_UTILS, 'EveryObjectPixelSampler', {}),
    (MODELS, 'BoxGrid', {}),
    (TASK_UTILS, 'JitteredBoxSampler', {}),
]


def every_option():
    for registry, kind, least in NUMBERS:
        for option in inspect.signature(registry.get(kind)).parameters:
            if option not in ('init_cfg', 'norm_cfg'):
                yield pytest.param(
                    registry, kind, least, option, id=f'{kind}-{option}'
                )


@pytest.mark.parametrize('registry,kind,least,option', every_option())
@pytest.mark.parametrize('value', [None, {}, '3', True, -1, NAN, [[3]]])
def test_no_option_takes_just_anything(registry, kind, least, option, value):
    cfg = dict(least, **{'type': kind, option: value})
    with pytest.raises(ValueError, match=f'^{kind}: .*{option}=.* must '):
        registry.build(cfg)


def test_a_misspelt_option_is_named():
    with pytest.raises(TypeError, match="Fusion.*argument 'dilation'"):
        build(**{f'{ENCODER}.dilation': 2})


@pytest.mark.parametrize('channels', [[4, 6], [4, 8, 6]])
def test_a_backbone_of_other_channels_than_the_neck(channels):
    """Which GFPN sees where their maps come to it."""
    maps = [torch.zeros(1, c, 4, 4) for c in channels]
    with pytest.raises(ValueError) as error:
        GFPN([4, 6, 8], 5, 3)(maps)
    assert str(error.value) == (
        f"GFPN: in_channels=[4, 6, 8] must be {channels}, as the backbone's "
        'maps'
    )
