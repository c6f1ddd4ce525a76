import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import CheckpointLoader

from projects.sprnet.runtime.safe_loading import history_statistic


class Payload:
    """Runs a command when a careless reader unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    'call', [dict(), dict(weights_only=False)], ids=['default', 'turned off']
)
def test_a_checkpoint_that_carries_code_is_refused(tmp_path, call):
    trap, file = tmp_path / 'trap', tmp_path / 'hostile.pth'
    torch.save(dict(state_dict={}, meta=Payload(trap)), file)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, map_location='cpu', **call)
    with pytest.raises(pickle.UnpicklingError):
        CheckpointLoader.load_checkpoint(str(file), 'cpu')
    assert not trap.exists()


class Getattr:
    """Pickled as a call of getattr, as a history is."""

    def __init__(self, owner, name):
        self.call = owner, name

    def __reduce__(self):
        return getattr, self.call


@pytest.mark.parametrize(
    'owner,name',
    [
        (HistoryBuffer, '__init__'),
        (HistoryBuffer, '__globals__'),
        (np.ndarray, 'tofile'),
        (torch.Tensor, '__reduce_ex__'),
    ],
)
def test_getattr_returns_only_statistics_of_the_history(tmp_path, owner, name):
    with pytest.raises(pickle.UnpicklingError, match='asks for'):
        history_statistic(owner, name)
    file = tmp_path / 'probe.pth'
    torch.save(dict(probe=Getattr(owner, name)), file)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file)


def test_mmengines_history_loads(tmp_path):
    hub = MessageHub.get_instance('test_mmengines_history_loads')
    for value in (0.5, 0.25):
        hub.update_scalar('train/loss', value)
    hub.update_scalar('train/np', np.float32(3))
    hub.update_info('iter', 7)
    file = tmp_path / 'good.pth'
    torch.save(dict(state_dict={}, message_hub=hub.state_dict()), file)
    for _ in range(2):  # the first load must not use up the permission
        loaded = CheckpointLoader.load_checkpoint(str(file), 'cpu')
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert history.mean() == 0.375
    assert history.statistics('min') == 0.25
    assert loaded['message_hub']['runtime_info']['iter'] == 7
