"""A GPU for the tests in this folder, which are skipped without one.

TEST_DEVICE names the device. With TEST_DEVICE=cpu the tests that need no CUDA
of their own compare the CPU with itself, which shows that they run.
"""

import os

import pytest
import torch


@pytest.fixture(scope='session')
def device():
    """The device to compare with the CPU."""
    name = os.environ.get('TEST_DEVICE', 'cuda:0')
    if name.startswith('cuda') and not torch.cuda.is_available():
        pytest.skip('this machine has no GPU that PyTorch can use')
    return torch.device(name)


@pytest.fixture
def gpu(device):
    """The device, for tests of what only CUDA does."""
    if device.type != 'cuda':
        pytest.skip('only CUDA does this')
    return device


@pytest.fixture(autouse=True)
def float32(device):
    """Let convolutions and products of float32 use all of its bits.

    By default, cuDNN rounds the inputs of convolutions to TF32's ten bits.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    yield
    matmul.allow_tf32, cudnn.allow_tf32 = before
