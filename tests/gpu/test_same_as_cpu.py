"""A GPU predicts and trains as a CPU does, with the same weights and inputs.

The limits are some ten times what two ways of summing differ by on one CPU.
"""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from pycocotools import mask as coco_mask
from support.agreement import (
    agreement,
    batch,
    distance,
    loss_and_gradients,
    pair_of,
    predict,
)
from support.helpers import BOX_CONFIG, CONFIGS, SHAPES_CONFIG

from projects.sprnet import DenseMasks, RLEMasks

DETECTORS = [
    'sprnet_r18_fpn_shapes.py',
    'sprnet_r18_gfpn_shapes.py',
    'plus/sprnet_r18_gfpn_plus-box_shapes.py',
    'plus/sprnet_r18_gfpn_plus-every-object_shapes.py',
    'frozen_detector/sprnet_r18_fpn_frozen_shapes.py',
    'frozen_detector/sprnet_r18_gfpn_plus-box_frozen_shapes.py',
    'mask_branch/sprnet_r18_gfpn_c33x4_shapes.py',
    'mask_branch/sprnet_r18_gfpn_c33-1246_shapes.py',
    'mask_branch/sprnet_r18_gfpn_no-shortcut_shapes.py',
    'pyramids/sprnet_r18_gfpn-pooled_shapes.py',
    'gate_functions/retinanet_r18_gfpn-tanh_shapes.py',
    'gate_functions/retinanet_r18_gfpn-square_shapes.py',
    'gate_functions/retinanet_r18_gfpn-relu-tanh_shapes.py',
    'gate_functions/retinanet_r18_gfpn-shared_shapes.py',
    'gate_functions/retinanet_r18_gfpn-open_shapes.py',
    'other_heads/sprnet_atss_r50_fpn_1x_coco.py',
    'other_heads/sprnet_fcos_r50_fpn_1x_coco.py',
    'other_heads/sprnet_gfl_r50_fpn_1x_coco.py',
    'other_backbones/sprnet_swin-t_gfpn_1x_coco.py',
    'other_backbones/sprnet_pvtv2-b0_gfpn_1x_coco.py',
    'other_backbones/sprnet_regnetx-800mf_gfpn_1x_coco.py',
]
# Its samplers choose boxes at random, among proposals that nearly tie.
PREDICTS_ONLY = ['mask_rcnn/mask-rcnn_r18_gfpn_shapes.py']

every_detector = pytest.mark.parametrize('config', DETECTORS)


def options_of(config):
    """Options without which two trainings differ by chance."""
    options = {}
    if 'plus-box' in config:
        options['mask_head.sampler.std'] = 0.0  # no random shifts of boxes
    if 'swin' in config or 'pvt' in config:
        options['backbone.drop_path_rate'] = 0.0
    return options


def check_agreement(found, record_property):
    for name, value in found._asdict().items():
        record_property(name, value)
    assert found.matched >= 0.95
    assert found.mask <= 1e-3


@pytest.mark.parametrize('config', [*DETECTORS, *PREDICTS_ONLY])
def test_predictions(config, device, record_property):
    pair = pair_of(CONFIGS / config, device)
    expected, found = map(predict, pair)
    assert min(map(len, expected)) >= 50
    check_agreement(agreement(expected, found), record_property)


@every_detector
def test_losses_and_gradients(config, device, record_property):
    pair = pair_of(CONFIGS / config, device, **options_of(config))
    (expected, gradients), (losses, found) = map(loss_and_gradients, pair)
    assert losses == pytest.approx(expected, rel=1e-3, abs=1e-6)
    record_property('gradients', distance(gradients, found))
    # Rounding puts some activations on the other side of a ReLU's kink.
    assert distance(gradients, found) <= 5e-3


@pytest.mark.parametrize('config', [SHAPES_CONFIG, BOX_CONFIG])
def test_run_lengths_are_those_of_dense_masks(config, device):
    _, model = pair_of(config, device)
    results = []
    for output in (DenseMasks(), RLEMasks()):
        model.mask_head.mask_output = output
        results.append(predict(model))
    for dense, encoded in zip(*results):
        decoded = coco_mask.decode(encoded.masks).transpose(2, 0, 1)
        differing = dense.masks ^ torch.from_numpy(decoded).bool()
        # A GPU pastes all masks together, and rounds otherwise.
        most = 0 if device.type == 'cpu' else 1e-4 * dense.masks.sum()
        assert differing.sum() <= most


def test_views_are_merged_as_on_a_cpu(device, record_property):
    tta_model = Config.fromfile(SHAPES_CONFIG).tta_model
    results = []
    for model in pair_of(SHAPES_CONFIG, device):
        merging = MODELS.build(dict(tta_model, module=model.eval()))
        views = [batch(), mirrored(batch())]
        data = {key: [view[key] for view in views] for key in views[0]}
        with torch.no_grad():
            samples = merging.test_step(data)
        results.append([sample.pred_instances.cpu() for sample in samples])
    check_agreement(agreement(*results), record_property)


def mirrored(data):
    """A batch seen in a mirror."""
    for sample in data['data_samples']:
        sample.set_metainfo(dict(flip=True, flip_direction='horizontal'))
    images = [image.flip(2) for image in data['inputs']]
    return dict(data, inputs=images)
