from typing import List, Sequence

from mmdet.registry import MODELS
from mmdet.structures import SampleList
from mmdet.utils import InstanceList
from mmengine.structures import InstanceData
from torch import Tensor

from .options import check_number, check_whole
from .pixels import top_pixels
from .spr_head import SPRHead

LEAST_OVERLAP = 1e-3  # of boxes that overlap no anchor


@MODELS.register_module()
class VotingSPRHead(SPRHead):
    """Beyond the paper: several pixels reconstruct a mask together.

    The pixels near an instance have the same target in training (3.2), but in
    testing only the one that scored the box is used, often one off the centre
    that would not have trained. Here the pixels whose anchors overlap the
    regressed box most reconstruct it, each on its own, and the mean of their
    maps is the mask. Training is SPRHead's, and its checkpoints fit.

    Args:
        num_pixels (int): Pixels a mask.
        power (float): A pixel weighs as much as the IoU of its best anchor and
            the box, to this power.
        kwargs: As of SPRHead.

    Raises:
        ValueError: Less than one pixel, or a negative power.
    """

    def __init__(
        self, *args, num_pixels: int = 4, power: float = 8, **kwargs
    ) -> None:
        super().__init__(*args, **kwargs)
        name = type(self).__name__
        check_whole(name, num_pixels=num_pixels)
        check_number(
            name,
            lambda value: value >= 0,
            'be a number of at least 0',
            power=power,
        )
        self.num_pixels = num_pixels
        self.power = power

    def _probabilities(
        self,
        feats: Sequence[Tensor],
        batch_data_samples: SampleList,
        results_list: InstanceList,
        rescale: bool,
    ) -> List[Tensor]:
        voters: InstanceList = []
        for results, sample in zip(results_list, batch_data_samples):
            boxes = results.bboxes
            if rescale:  # back to the size that the pyramid saw
                boxes = boxes * boxes.new_tensor(sample.scale_factor).repeat(2)
            anchors = self._anchors(feats, sample.metainfo)
            pixels, overlaps = top_pixels(anchors, boxes, self.num_pixels)
            voters.append(
                InstanceData(
                    pixels=pixels.flatten(),
                    labels=results.labels.repeat_interleave(pixels.shape[1]),
                    weights=_weights(overlaps, self.power).flatten(),
                )
            )
        maps = super()._probabilities(
            feats, batch_data_samples, voters, rescale
        )
        return [
            _weighted_means(one, voter.weights, len(results))
            for one, voter, results in zip(maps, voters, results_list)
        ]


def _weights(overlaps: Tensor, power: float) -> Tensor:
    """Of each box's pixels (n, k), best first; the best one's is 1, so that no
    power makes all of them vanish."""
    overlaps = overlaps.clamp(min=LEAST_OVERLAP)
    return (overlaps / overlaps[:, :1]) ** power


def _weighted_means(maps: Tensor, weights: Tensor, count: int) -> Tensor:
    """Maps (count * k, S, S) and weights (count * k,) to (count, S, S)."""
    size = maps.shape[-1]
    maps = maps.view(count, len(maps) // max(count, 1), size, size)
    weights = weights.view(*maps.shape[:2], 1, 1)
    return (maps * weights).sum(dim=1) / weights.sum(dim=1)
