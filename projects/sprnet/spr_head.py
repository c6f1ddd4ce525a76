"""The mask head. Shape letters: see :mod:`.pyramid`."""

from collections.abc import Sequence

import torch
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, InstanceList, reduce_mean
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor

from .boxes import enlarged, scaled
from .mask_targets import check_masks, sample_targets
from .options import (
    build_part,
    check,
    check_equal,
    check_number,
    check_positive,
    check_whole,
)
from .pixels import best_pixels
from .pyramid import pyramid_sizes

# Registry of each part, and the modules with this project's types
PARTS = dict(
    sampler=(TASK_UTILS, ['samplers']),
    encoder=(MODELS, ['encoders', 'box_grid']),
    decoder=(MODELS, ['decoder']),
    mask_output=(TASK_UTILS, ['mask_outputs']),
)


@MODELS.register_module()
class SPRHead(BaseModule):
    """Mask head of SPRNet: a mask from a single pixel, section 3.2.

    Args:
        num_classes (int): Number K of classes.
        in_channels (int): Channels C of the pyramid.
        anchor_generator (dict): Anchors whose overlap makes a pixel positive
            in training; A at every pixel of every level.
        sampler (dict): Selects the pixels that train, see :mod:`.samplers`.
        encoder (dict): Instances to vectors, see :mod:`.encoders`.
        decoder (dict): Vectors to masks, see :mod:`.decoder`.
        loss_mask (dict): Loss of logits and binary targets.
        mask_output (dict): Format of predicted masks, see
            :mod:`.mask_outputs`. The default is ``DenseMasks``.
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
        anchor_generator: ConfigType,
        sampler: ConfigType,
        encoder: ConfigType,
        decoder: ConfigType,
        loss_mask: ConfigType,
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
        self.anchor_generator = TASK_UTILS.build(anchor_generator)
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
        self.mask_threshold = (test_cfg or {}).get('mask_thr_binary', 0.5)
        self._check_options(train_cfg or {})

    def _build(self, option: str, cfg: ConfigType, **required):
        registry, names = PARTS[option]
        modules = [f'{__package__}.{name}' for name in names]
        return build_part(registry, self, option, cfg, modules, **required)

    def _check_options(self, train_cfg: ConfigType) -> None:
        anchors = getattr(self.anchor_generator, 'num_base_anchors', [])
        check(
            self,
            lambda value: len(set(value)) == 1,
            'be the same number on every level',
            **{'anchor_generator.num_base_anchors': anchors},
        )
        for name, expected in (('use_sigmoid', True), ('reduction', 'mean')):
            value = getattr(self.loss_mask, name, expected)
            value = {f'loss_mask.{name}': value}
            check_equal(self, expected, 'the only kind supported', **value)
        size = self.decoder.mask_size
        check_equal(
            self,
            size,
            "the decoder's 2 ** (num_linear + num_relu)",
            **{'train_cfg.mask_size': train_cfg.get('mask_size', size)},
        )
        check_positive(self, frame=self.frame)
        check_number(
            self,
            lambda value: 0 <= value <= 1,
            'be a number in 0..1',
            **{'test_cfg.mask_thr_binary': self.mask_threshold},
        )

    def forward(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor | None,
        boxes: Tensor,
        labels: Tensor,
    ) -> Tensor:
        """Reconstruct masks.

        Args:
            feats, batch_indices, pixels, boxes: As for an
                :class:`.encoders.Encoder`.
            labels: (P,) class of each instance.

        Returns:
            (P, S, S) logits of the labels' channels.
        """
        codes, owners = self.encoder.distinct(
            feats, batch_indices, pixels, boxes
        )
        return self.decoder(codes, owners, labels)

    def loss(
        self, feats: Sequence[Tensor], batch_data_samples: SampleList
    ) -> dict[str, Tensor]:
        """Return ``loss_mask``, the masks' mean binary cross-entropy (3.1).

        Args:
            feats: (N, C, H_l, W_l) of each level.
            batch_data_samples: With ``gt_instances``: boxes, labels, masks.
        """
        batch_gt, _, img_metas = unpack_gt_instances(batch_data_samples)
        positives = [
            self.positives(gt, meta, feats)
            for gt, meta in zip(batch_gt, img_metas)
        ]
        targets = torch.cat([samples.pop('targets') for samples in positives])
        logits = self._reconstruct(feats, positives)
        count = reduce_mean(logits.new_full((), len(logits)))
        return dict(
            loss_mask=self.loss_mask(
                logits.flatten(1),
                targets.flatten(1),
                avg_factor=count * self.decoder.mask_size**2,
            )
        )

    @torch.no_grad()
    def positives(
        self, gt: InstanceData, meta: dict, feats: Sequence[Tensor]
    ) -> InstanceData:
        """Select the masks that train in one image.

        Args:
            gt: ``bboxes`` (G, 4), ``labels`` (G,), ``masks`` of its objects.
            meta: Its meta information.
            feats: (N, C, H_l, W_l) of each level.

        Returns:
            ``boxes`` (P, 4), ``labels`` (P,), ``targets`` (P, S, S) and, if
            the encoder reads them, ``pixels`` (P,).
        """
        check_masks(gt, meta)
        anchors = self.anchors(feats, meta)
        pixels, instances, boxes = self.sampler(anchors, gt.bboxes)
        samples = InstanceData(
            boxes=self.frames(boxes), labels=gt.labels[instances]
        )
        if self.encoder.reads_pixels:
            if pixels is None:
                pixels, _ = best_pixels(anchors, boxes)
            samples.pixels = pixels
        samples.targets, kept = sample_targets(
            gt.masks, instances, samples.boxes, self.decoder.mask_size
        )
        return samples[kept]

    def frames(self, boxes: Tensor) -> Tensor:
        """Return the frames that the masks of boxes (P, 4) fill, (P, 4)."""
        return enlarged(boxes, self.frame)

    def anchors(self, feats: Sequence[Tensor], meta: dict) -> Tensor:
        """Return an image's anchors (L, A, 4), without area in the padding."""
        generator, device = self.anchor_generator, feats[0].device
        # It keeps them on the CPU, and a GPU would wait for each copy.
        generator.base_anchors = [x.to(device) for x in generator.base_anchors]
        sizes = pyramid_sizes(feats[: generator.num_levels])
        anchors = torch.cat(generator.grid_priors(sizes, device=device))
        valid = torch.cat(
            generator.valid_flags(sizes, meta['pad_shape'], device)
        )
        anchors = anchors.masked_fill(~valid[:, None], 0)
        return anchors.view(-1, generator.num_base_anchors[0], 4)

    def _reconstruct(
        self, feats: Sequence[Tensor], instances: InstanceList
    ) -> Tensor:
        """Call :meth:`forward` once for all images' instances; in float32."""
        for n, per_image in enumerate(instances):
            per_image.batch_indices = torch.full_like(per_image.labels, n)
        joined = InstanceData.cat(instances)
        logits = self(
            feats,
            joined.batch_indices,
            joined.get('pixels'),
            joined.boxes,
            joined.labels,
        )
        return logits.float()  # the loss's sum exceeds half precision

    def predict(
        self,
        feats: Sequence[Tensor],
        batch_data_samples: SampleList,
        results_list: InstanceList,
        rescale: bool = False,
    ) -> InstanceList:
        """Add masks to detections.

        Args:
            feats: (N, C, H_l, W_l) of each level.
            batch_data_samples: With the images' meta information.
            results_list: ``bboxes`` and ``labels`` of each image and, if the
                encoder reads them, ``pixels``; see :mod:`.detections`.
            rescale: Boxes and masks are at the images' original size.

        Returns:
            The results with ``masks``, by default (P, H, W) bool.
        """
        maps = self.predict_maps(
            feats, batch_data_samples, results_list, rescale
        )
        for results, probabilities, sample in zip(
            results_list, maps, batch_data_samples
        ):
            shape = sample.ori_shape if rescale else sample.img_shape
            results.masks = self.mask_output(
                probabilities,
                self.frames(results.bboxes),
                *shape[:2],
                self.mask_threshold,
            )
        return results_list

    def predict_maps(
        self,
        feats: Sequence[Tensor],
        batch_data_samples: SampleList,
        results_list: InstanceList,
        rescale: bool = False,
    ) -> Sequence[Tensor]:
        """Return the masks of detections before they are pasted.

        Args:
            As for :meth:`predict`.

        Returns:
            Probabilities (P, S, S) of the detections of each image.
        """
        instances = []
        for results, sample in zip(results_list, batch_data_samples):
            boxes = results.bboxes
            if rescale:  # to the network's input
                boxes = scaled(boxes, sample.scale_factor)
            one = InstanceData(boxes=self.frames(boxes), labels=results.labels)
            if self.encoder.reads_pixels:
                one.pixels = results.pixels
            instances.append(one)
        logits = self._reconstruct(feats, instances)
        return logits.sigmoid().split([len(r) for r in results_list])
