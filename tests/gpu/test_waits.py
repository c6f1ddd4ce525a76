"""How often the CPU waits for the GPU, beside stock RetinaNet.

CUDA itself reports each wait (``torch.cuda.set_sync_debug_mode``).
"""

import traceback
import warnings
from collections import Counter
from contextlib import contextmanager

import pytest
import torch
from mmengine.optim import OptimWrapper
from support.agreement import batch, pair_of
from support.helpers import BOX_CONFIG, CONFIGS, ROOT, SHAPES_CONFIG

from projects.sprnet import RLEMasks

RETINANET = CONFIGS / 'object_detection' / 'retinanet_r18_gfpn_shapes.py'
# More waits than stock RetinaNet, at most. In training, five are those of
# AnchorGenerator, which keeps the anchors of a level on the CPU.
PREDICTION, RUN_LENGTHS, TRAINING = 3, 7, 11


@contextmanager
def counted_waits(device):
    """Count the waits in a block, by the line of this project that waits."""
    waits = Counter()

    def record(message, category, filename, lineno, *_):
        if 'called a synchronizing' in str(message):
            ours = [
                f'{frame.filename.removeprefix(str(ROOT))}:{frame.lineno}'
                for frame in traceback.extract_stack()
                if '/projects/sprnet/' in frame.filename
            ]
            waits[ours[-1] if ours else 'elsewhere'] += 1

    with warnings.catch_warnings():
        warnings.simplefilter('always')
        warnings.showwarning = record
        torch.cuda.synchronize(device)
        torch.cuda.set_sync_debug_mode('warn')
        try:
            yield waits
        finally:
            torch.cuda.set_sync_debug_mode('default')


def prediction_waits(model, device):
    """Waits of predicting two images, without moving them to the GPU."""
    model.eval()
    data = model.data_preprocessor(batch(), False)
    for _ in range(2):  # the first time fills caches
        with torch.no_grad(), counted_waits(device) as waits:
            results = model(**data, mode='predict')
    assert [len(result.pred_instances) for result in results] == [100, 100]
    return waits


def training_waits(model, device):
    """Waits of a training step, without moving the images to the GPU."""
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-4))
    data = model.train().data_preprocessor(batch(), True)
    for _ in range(2):
        with counted_waits(device) as waits:
            losses = model(**data, mode='loss')
            wrapper.update_params(model.parse_losses(losses)[0])
    return waits


def check(ours, stock, most, record_property):
    record_property('waits', sum(ours.values()))
    record_property('RetinaNet', sum(stock.values()))
    lines = {k: n for k, n in ours.most_common() if k != 'elsewhere'}
    record_property('lines', lines)
    assert sum(ours.values()) - sum(stock.values()) <= most, lines


def test_waits_are_counted(gpu):
    values = torch.ones(3, device=gpu)
    with counted_waits(gpu) as waits:
        values.sum().item()
        values.cpu()
        values + 1
    assert sum(waits.values()) == 2


@pytest.mark.parametrize('config', [SHAPES_CONFIG, BOX_CONFIG])
@pytest.mark.parametrize('output', [None, RLEMasks])
def test_prediction(config, output, gpu, record_property):
    stock = prediction_waits(pair_of(RETINANET, gpu)[1], gpu)
    model = pair_of(config, gpu)[1]
    if output:
        model.mask_head.mask_output = output()
    waits = prediction_waits(model, gpu)
    most = RUN_LENGTHS if output else PREDICTION
    check(waits, stock, most, record_property)


@pytest.mark.parametrize('config', [SHAPES_CONFIG, BOX_CONFIG])
def test_training_step(config, gpu, record_property):
    stock = training_waits(pair_of(RETINANET, gpu)[1], gpu)
    waits = training_waits(pair_of(config, gpu)[1], gpu)
    check(waits, stock, TRAINING, record_property)
