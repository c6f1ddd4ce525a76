"""Embeddings to masks: the mask head's ``decoder``.

Maps are in tree order, not in rows: the four children of a cell (upper left,
upper right, lower left, lower right) follow each other. A deconvolution of
kernel 2 and stride 2 is then a plain matrix product.
Shape letters: see :mod:`.structures`.
"""

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from .options import check_whole
from .structures import joined, parts

NUM_LINEAR, NUM_RELU = 3, 2  # deconvolutions, section 3.2
MASK_SIZE = 2 ** (NUM_LINEAR + NUM_RELU)
MASKS_AT_ONCE = 512  # bounds the memory of the largest maps
ON_CPU_AT_ONCE = 4  # keeps them in a CPU's caches


class Doubling:
    """A deconvolution of kernel 2 and stride 2, as one matrix product.

    Args:
        deconv: Has the weights; gradients flow back to it.
    """

    def __init__(self, deconv: nn.ConvTranspose2d) -> None:
        # (4 * C_out, C_in), a view of weights in channels-last order
        self.weight = deconv.weight.permute(2, 3, 1, 0).flatten(0, 2)
        self.bias = deconv.bias.repeat(4)

    def __call__(self, x: Tensor) -> Tensor:
        """Double the side of maps.

        Args:
            x: (P, M, C_in) M cells in tree order.

        Returns:
            (P, 4 * M, C_out) in tree order.
        """
        x = F.linear(x, self.weight, self.bias)
        return x.unflatten(2, (4, -1)).flatten(1, 2)


def tree_to_grid(x: Tensor, depth: int) -> Tensor:
    """(n, 4 ** depth) in tree order to (n, 2 ** depth, 2 ** depth)."""
    count = x.shape[0]  # len() would be a constant of a traced graph
    x = x.view(count, *[2] * (2 * depth))
    rows, columns = range(1, 2 * depth, 2), range(2, 2 * depth + 1, 2)
    return x.permute(0, *rows, *columns).reshape(count, 2**depth, 2**depth)


@MODELS.register_module()
class SinglePixelDecoder(BaseModule):
    """Single pixel reconstruction, section 3.2: an embedding becomes a mask.

    Five deconvolutions double the side of the map, three without activation,
    then two with ReLU. A 1x1 convolution makes a channel of logits for each
    class.

    Example: the network in plain PyTorch.

        >>> linear = nn.Sequential(
        ...     nn.ConvTranspose2d(640, 256, 2, stride=2),
        ...     nn.ConvTranspose2d(256, 256, 2, stride=2),
        ...     nn.ConvTranspose2d(256, 256, 2, stride=2))
        >>> relu = nn.Sequential(
        ...     nn.ConvTranspose2d(256, 256, 2, stride=2), nn.ReLU(),
        ...     nn.ConvTranspose2d(256, 256, 2, stride=2), nn.ReLU())
        >>> classifier = nn.Conv2d(256, num_classes, 1)
        >>> small = linear(embeddings[:, :, None, None])  # (P, 256, 8, 8)
        >>> large = relu(small)  # (P, 256, 32, 32)
        >>> if shortcut:  # ShortcutPixelDecoder: the coarse map is added
        ...     large = large + F.interpolate(small, scale_factor=4)
        >>> logits = classifier(large)[range(P), labels]  # (P, 32, 32)

    This class has the same weights and outputs. But it computes only the
    channel of each instance's class, and the largest maps in parts.

    Args:
        num_classes (int): Number K of classes.
        in_channels (int): Length D of an embedding.
        channels (int): Channels C of the deconvolutions.
        init_cfg (dict): As for mmengine's BaseModule; :meth:`init_weights`
            draws all weights after it.

    Raises:
        InputError: An option is not a whole number of at least 1.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int = 640,
        channels: int = 256,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_whole(
            self,
            num_classes=num_classes,
            in_channels=in_channels,
            channels=channels,
        )
        self.deconvs = nn.ModuleList(
            nn.ConvTranspose2d(
                in_channels if i == 0 else channels, channels, 2, stride=2
            )
            for i in range(NUM_LINEAR + NUM_RELU)
        )
        self.deconvs.to(memory_format=torch.channels_last)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def init_weights(self) -> None:
        """Draw weights that keep the variance of the features."""
        super().init_weights()
        # PyTorch's default loses two orders of magnitude over five layers.
        # Windows do not overlap, so a cell's fan-in is C_in alone.
        for i, deconv in enumerate(self.deconvs):
            gain = 1 if i < NUM_LINEAR else 2
            nn.init.normal_(
                deconv.weight, std=(gain / deconv.in_channels) ** 0.5
            )
            nn.init.zeros_(deconv.bias)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Decode instances.

        Args:
            embeddings: (P, in_channels).
            labels: (P,) classes, in 0..K - 1.

        Returns:
            (P, S, S) logits of each label's own channel.
        """
        *linear, fourth, last = map(Doubling, self.deconvs)
        small = embeddings[:, None]
        for doubling in linear:
            small = doubling(small)
        medium = fourth(small).relu_()
        weights = self.classifier.weight.flatten(1)[labels][..., None]
        biases = self.classifier.bias[labels][:, None, None]
        on_cpu = embeddings.device.type == 'cpu'
        at_once = ON_CPU_AT_ONCE if on_cpu else MASKS_AT_ONCE
        logits = [
            self.classify(part, last(large).relu_(), *channel)
            for part, large, *channel in zip(
                *(parts(x, at_once) for x in (small, medium, weights, biases))
            )
        ]
        return tree_to_grid(joined(logits)[..., 0], NUM_LINEAR + NUM_RELU)

    def classify(
        self, small: Tensor, large: Tensor, weights: Tensor, biases: Tensor
    ) -> Tensor:
        """Compute the channel of each instance's class.

        Args:
            small: (P, s * s, C) map before the first ReLU.
            large: (P, S * S, C) last map.
            weights: (P, C, 1) of the classes.
            biases: (P, 1, 1) of the classes.

        Returns:
            (P, S * S, 1) logits, in tree order.
        """
        return torch.baddbmm(biases, large, weights)


@MODELS.register_module()
class ShortcutPixelDecoder(SinglePixelDecoder):
    """With the shortcut of section 3.2 and Table 3(c), the paper's choice.

    The map before the first ReLU (8x8), enlarged by nearest interpolation, is
    added before the classifier. The classifier is linear, so it is applied to
    the small map, and only its one channel is enlarged.
    """

    def classify(
        self, small: Tensor, large: Tensor, weights: Tensor, biases: Tensor
    ) -> Tensor:
        """See :meth:`SinglePixelDecoder.classify`; adds the shortcut."""
        shortcut = torch.baddbmm(biases, small, weights)
        # In tree order the cells below one coarse cell follow each other.
        logits = torch.bmm(large, weights)
        below = logits.unflatten(1, (-1, 4**NUM_RELU))
        return (below + shortcut[:, :, None]).flatten(1, 2)
