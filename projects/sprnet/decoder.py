import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn


def double(x: Tensor, deconv: nn.ConvTranspose2d) -> Tensor:
    """A deconvolution of kernel 2 and stride 2, as one matrix product.

    Args:
        x: (P, M, C_in) M cells in tree order.
        deconv: its weights.

    Returns:
        (P, 4 * M, C_out) in tree order: the four children of a cell (upper
        left, upper right, lower left, lower right) follow each other.
    """
    cells = x.shape[1]
    weight = deconv.weight.permute(2, 3, 1, 0).flatten(0, 2)
    x = F.linear(x, weight, deconv.bias.repeat(4))
    return x.view(len(x), 4 * cells, deconv.out_channels)


def tree_to_grid(x: Tensor, depth: int) -> Tensor:
    """(P, 4 ** depth) in tree order -> (P, 2 ** depth, 2 ** depth)."""
    pixels = len(x)
    x = x.view(pixels, *[2] * (2 * depth))
    rows, columns = range(1, 2 * depth, 2), range(2, 2 * depth + 1, 2)
    return x.permute(0, *rows, *columns).reshape(pixels, 2**depth, 2**depth)


@MODELS.register_module()
class SinglePixelDecoder(BaseModule):
    """Single pixel reconstruction, section 3.2: a vector becomes a mask.

    Deconvolutions double the side, first without activation and then with
    ReLU; a 1x1 convolution to the classes' channels follows, of which only
    the instance's own is computed.

    Args:
        num_classes (int): Classes, K.
        in_channels (int): Channels of a pixel's vector.
        channels (int): Channels of the deconvolutions.
        num_linear (int): Deconvolutions without activation.
        num_relu (int): Deconvolutions with ReLU, after those.
        init_cfg: unused where None; the weights are drawn so that the variance
            of the features is kept.

    Raises:
        ValueError: A number below its least.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 640,
        channels: int = 256,
        num_linear: int = 3,
        num_relu: int = 2,
        init_cfg: dict = None,
    ) -> None:
        super().__init__(init_cfg)
        for option, value, least in (
            ('num_classes', num_classes, 1),
            ('in_channels', in_channels, 1),
            ('channels', channels, 1),
            ('num_linear', num_linear, 1),
            ('num_relu', num_relu, 0),
        ):
            if value < least:
                raise ValueError(
                    f'{type(self).__name__}: {option}={value} '
                    f'must be at least {least}'
                )
        self.num_linear = num_linear
        self.num_relu = num_relu
        self.deconvs = nn.ModuleList(
            nn.ConvTranspose2d(
                in_channels if i == 0 else channels, channels, 2, stride=2
            )
            for i in range(num_linear + num_relu)
        )
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    @property
    def mask_size(self) -> int:
        """Side of the masks, in cells."""
        return 2 ** len(self.deconvs)

    def init_weights(self) -> None:
        """Draw weights that keep the variance of the features."""
        super().init_weights()
        # PyTorch's default loses two orders of magnitude over five layers.
        # Windows do not overlap, so a cell's fan-in is C_in alone.
        for i, deconv in enumerate(self.deconvs):
            gain = 1 if i < self.num_linear else 2
            nn.init.normal_(
                deconv.weight, std=(gain / deconv.in_channels) ** 0.5
            )
            nn.init.zeros_(deconv.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Pixels' vectors to the logits of their masks.

        Args:
            codes: (P, in_channels).
            labels: (P,) classes, in 0..num_classes - 1.

        Returns:
            (P, mask_size, mask_size) logits of each label's own channel.
        """
        small = codes[:, None]
        for deconv in self.deconvs[: self.num_linear]:
            small = double(small, deconv)
        large = small
        for deconv in self.deconvs[self.num_linear :]:
            large = double(large, deconv).relu()
        weight = self.classifier.weight[labels].flatten(1)[..., None]
        bias = self.classifier.bias[labels][:, None]
        logits = self.classify(small, large, weight) + bias
        return tree_to_grid(logits, len(self.deconvs))

    def classify(self, small: Tensor, large: Tensor, weight: Tensor) -> Tensor:
        """Logits without bias, in tree order.

        Args:
            small: (P, S, C) the map before the first ReLU.
            large: (P, M, C) the last map.
            weight: (P, C, 1) of each pixel's class.

        Returns:
            (P, M).
        """
        return torch.bmm(large, weight)[..., 0]


@MODELS.register_module()
class ShortcutPixelDecoder(SinglePixelDecoder):
    """With the shortcut of section 3.2 and Table 3(c), the paper's choice.

    The 8x8 map, enlarged by nearest interpolation, is added before the last
    layer. That layer is linear, so it is applied to the 8x8 map as it is, and
    what is enlarged is one channel.
    """

    def classify(self, small: Tensor, large: Tensor, weight: Tensor) -> Tensor:
        """As :meth:`SinglePixelDecoder.classify`, with the shortcut."""
        shortcut = torch.bmm(small, weight)[..., 0]
        # In tree order the cells under one parent stand together.
        shortcut = shortcut.repeat_interleave(4**self.num_relu, dim=1)
        return super().classify(small, large, weight) + shortcut
