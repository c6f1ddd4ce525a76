import torch
from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep a model's convolutions in channels-last memory order.

    That is how the libraries below PyTorch compute them; results differ by
    rounding, checkpoints do not.
    """

    def before_run(self, runner: Runner) -> None:
        """Reorder the weights; what they meet follows their order."""
        runner.model.to(memory_format=torch.channels_last)
