"""The mask head. Shape letters: see :mod:`.structures`."""

from collections.abc import Sequence

import torch
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, InstanceList, reduce_mean
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor

from .boxes import enlarged
from .decoder import MASK_SIZE
from .errors import InputError
from .mask_targets import check_masks, sampled_targets, with_masks
from .options import (
    build_part,
    check,
    check_equal,
    check_number,
    check_whole,
)
from .pyramid import pyramid_sizes
from .structures import Features, Instances, joined, moved

# Registry of each part, and the modules with this project's types
PARTS = dict(
    sampler=(TASK_UTILS, ['samplers']),
    encoder=(MODELS, ['encoders', 'box_grid']),
    decoder=(MODELS, ['decoder']),
    mask_output=(TASK_UTILS, ['pasting', 'rle']),
)


@MODELS.register_module()
class SPRHead(BaseModule):
    """Mask head of SPRNet: a mask from a single location, section 3.2.

    Args:
        num_classes (int): Number K of classes.
        in_channels (int): Channels C of the pyramid.
        sampler (dict): Chooses the instances that train, see
            :mod:`.samplers`.
        encoder (dict): Instances to embeddings, see :mod:`.encoders`.
        decoder (dict): Embeddings to masks, see :mod:`.decoder`.
        loss_mask (dict): Loss of logits and binary targets.
        anchor_generator (dict): Anchors whose overlap makes a location
            positive in training; A at every location of every level. Only
            samplers that choose locations need it.
        mask_output (dict): Format of predicted masks:
            :class:`.pasting.DenseMasks`, the default, or
            :class:`.rle.RLEMasks`.
        frame (float): Sides of the frame that a mask fills, relative to those
            of its box.
        train_cfg (dict): ``mask_size`` may be left out; it must be the side S
            of the decoder's masks.
        test_cfg (dict): ``mask_thr_binary``, the least probability of a mask's
            pixel; 0.5 if left out.

    Raises:
        InputError: An option has a wrong value, the type of a part is not
            registered, or parts disagree.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        sampler: ConfigType,
        encoder: ConfigType,
        decoder: ConfigType,
        loss_mask: ConfigType,
        anchor_generator: ConfigType | None = None,
        mask_output: ConfigType | None = None,
        frame: float = 1.0,
        train_cfg: ConfigType | None = None,
        test_cfg: ConfigType | None = None,
        init_cfg: ConfigType | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_whole(self, num_classes=num_classes, in_channels=in_channels)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.sampler = self._build('sampler', sampler)
        self.encoder = self._build('encoder', encoder, in_channels=in_channels)
        self.decoder = self._build(
            'decoder',
            decoder,
            num_classes=num_classes,
            in_channels=self.encoder.out_channels,
        )
        self.loss_mask = MODELS.build(loss_mask)
        self.mask_output = self._build(
            'mask_output', mask_output or dict(type='DenseMasks')
        )
        self.frame = frame
        self._build_anchors(anchor_generator)
        self.mask_threshold = (test_cfg or {}).get('mask_thr_binary', 0.5)
        self._check_options(train_cfg or {})

    def _build(self, option: str, cfg: ConfigType, **required):
        registry, names = PARTS[option]
        modules = [f'{__package__}.{name}' for name in names]
        return build_part(registry, self, option, cfg, modules, **required)

    def _build_anchors(self, anchor_generator: ConfigType | None) -> None:
        """Build the anchors' generator, if the sampler needs anchors."""
        self.prior_generator = None
        if not self.sampler.chooses_locations:
            return
        if anchor_generator is None:
            raise InputError(
                f'SPRHead: sampler.type={type(self.sampler).__name__} chooses '
                'locations by anchors, so it needs an anchor_generator'
            )
        self.prior_generator = TASK_UTILS.build(anchor_generator)
        check(
            self,
            lambda value: len(set(value)) == 1,
            'be the same number on every level',
            **{
                'anchor_generator.num_base_anchors': getattr(
                    self.prior_generator, 'num_base_anchors', []
                )
            },
        )

    def _check_options(self, train_cfg: ConfigType) -> None:
        names = {True: 'locations', False: 'boxes'}
        reads = names[self.encoder.reads_locations]
        check(
            self,
            lambda _: names[self.sampler.chooses_locations] == reads,
            f'be one that chooses {reads}, as '
            f'encoder.type={type(self.encoder).__name__} reads them',
            **{'sampler.type': type(self.sampler).__name__},
        )
        for name, expected in (('use_sigmoid', True), ('reduction', 'mean')):
            value = getattr(self.loss_mask, name, expected)
            value = {f'loss_mask.{name}': value}
            check_equal(self, expected, 'the only kind supported', **value)
        check_equal(
            self,
            MASK_SIZE,
            "the side of the decoder's masks",
            **{'train_cfg.mask_size': train_cfg.get('mask_size', MASK_SIZE)},
        )
        check_number(
            self, lambda x: x > 0, 'be a number above 0', frame=self.frame
        )
        check_number(
            self,
            lambda x: 0 <= x <= 1,
            'be a number in 0..1',
            **{'test_cfg.mask_thr_binary': self.mask_threshold},
        )

    def forward(self, features: Features, instances: Instances) -> Tensor:
        """Reconstruct masks.

        Returns:
            (P, S, S) logits of the labels' channels, in float32.
        """
        embeddings = self.encoder(features, instances)
        logits = self.decoder(embeddings, instances.label)
        return logits.float()  # the loss's sum exceeds half precision

    def loss(
        self, features: Features, batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Return ``loss_mask``, the masks' mean binary cross-entropy (3.1).

        Args:
            features: Those of the batch.
            batch_data_samples: With ``gt_instances``: boxes, labels, masks.
        """
        batch_gt, _, img_metas = unpack_gt_instances(batch_data_samples)
        anchors = [None] * len(img_metas)
        if self.sampler.chooses_locations:
            anchors = self.anchors(features, img_metas)
        per_picture = [
            self.training_instances(n, *of_picture)
            for n, of_picture in enumerate(zip(batch_gt, img_metas, anchors))
        ]
        instances = Instances(
            *(None if x[0] is None else joined(x) for x in zip(*per_picture))
        )
        logits = self(features, instances)
        count = reduce_mean(logits.new_full((), len(logits)))
        return dict(
            loss_mask=self.loss_mask(
                logits.flatten(1),
                instances.target.flatten(1),
                avg_factor=count * MASK_SIZE**2,
            )
        )

    @torch.no_grad()
    def training_instances(
        self,
        picture: int,
        gt: InstanceData,
        meta: dict,
        anchors: Tensor | None,
    ) -> Instances:
        """Choose the masks that train in one picture, with their targets.

        Args:
            picture: Its index in the batch.
            gt: ``bboxes`` (G, 4), ``labels`` (G,), ``masks`` of its objects.
            meta: Its meta information.
            anchors: (L, A, 4), if the sampler chooses locations.
        """
        check_masks(gt, meta)
        gt = with_masks(gt)
        samples = self.sampler(gt.bboxes, anchors)
        own = samples.boxes is None
        boxes = self.frames(gt.bboxes if own else samples.boxes)
        label = gt.labels[samples.objects]
        return Instances(
            torch.full_like(label, picture),
            None if own else boxes,
            label,
            samples.locations,
            sampled_targets(gt.masks, samples, boxes, MASK_SIZE),
        )

    def frames(self, boxes: Tensor) -> Tensor:
        """Return the frames that the masks of boxes (P, 4) fill, (P, 4)."""
        return enlarged(boxes, self.frame)

    def anchors(
        self, features: Features, img_metas: Sequence[dict]
    ) -> list[Tensor]:
        """Return each picture's anchors (L, A, 4); those of the padding have
        no area."""
        sizes = pyramid_sizes(features.levels)
        device = features.levels[0].device
        generator = self.prior_generator
        anchors = torch.cat(generator.grid_priors(sizes, device=device))
        valid = [
            generator.valid_flags(sizes, meta['pad_shape'], device=device)
            for meta in img_metas
        ]
        per_location = generator.num_base_priors[0]
        return [
            (anchors * torch.cat(flags)[:, None]).view(-1, per_location, 4)
            for flags in valid
        ]

    def predict(
        self,
        features: Features,
        batch_data_samples: SampleList,
        results_list: InstanceList,
        rescale: bool = False,
    ) -> InstanceList:
        """Add masks to detections.

        Args:
            features: Those of the batch.
            batch_data_samples: With the pictures' meta information.
            results_list: ``bboxes`` and ``labels`` of each picture and, if the
                encoder reads them, ``locations``; see :mod:`.detections`.
            rescale: Boxes and masks are at the pictures' original size.

        Returns:
            The results with ``masks``, by default (P, H, W) bool.
        """
        probabilities = self.probabilities(
            features, batch_data_samples, results_list, rescale
        )
        masks = self.mask_output(
            probabilities,
            [self.frames(results.bboxes) for results in results_list],
            [
                (sample.ori_shape if rescale else sample.img_shape)[:2]
                for sample in batch_data_samples
            ],
            self.mask_threshold,
        )
        for results, of_picture in zip(results_list, masks):
            results.masks = of_picture
        return results_list

    def probabilities(
        self,
        features: Features,
        batch_data_samples: SampleList,
        results_list: InstanceList,
        rescale: bool = False,
    ) -> Tensor:
        """Return the masks of detections before they are pasted.

        Args:
            As for :meth:`predict`.

        Returns:
            (P, S, S) of the detections of all pictures, in their order.
        """
        device = features.levels[0].device
        counts = torch.tensor([len(results) for results in results_list])
        picture = torch.arange(len(counts)).repeat_interleave(counts)
        box = location = None
        if self.encoder.reads_locations:
            location = joined([results.locations for results in results_list])
        else:
            box = joined([results.bboxes for results in results_list])
            if rescale:  # to the network's input
                factors = torch.tensor(
                    [
                        2 * [*sample.scale_factor]
                        for sample in batch_data_samples
                    ]
                )
                box = box * moved(factors[picture], device).to(box)
            box = self.frames(box)
        label = joined([results.labels for results in results_list])
        instances = Instances(moved(picture, device), box, label, location)
        return self(features, instances).sigmoid_()
