from collections.abc import Sequence

import torch
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.structures import SampleList
from mmdet.structures.bbox import scale_boxes
from mmdet.utils import ConfigType, InstanceList, reduce_mean
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor

from .boxes import enlarged
from .mask_targets import mask_targets
from .options import build_part, check, check_number, check_whole
from .pyramid import pyramid_sizes
from .samplers import with_masks

# The modules that hold this project's types of each part
PARTS = dict(
    sampler=['samplers'],
    encoder=['encoders', 'box_grid'],
    decoder=['decoder'],
    mask_output=['mask_outputs'],
)


@MODELS.register_module()
class SPRHead(BaseModule):
    """Mask head of SPRNet: a mask from a single pixel, section 3.2.

    Args:
        num_classes (int): Classes, K.
        in_channels (int): Channels of the pyramid.
        anchor_generator (dict): The anchors whose overlap makes a pixel
            positive in training; equally many at every pixel of every level.
        sampler (dict): Chooses the pixels that train, see
            :mod:`.samplers`.
        encoder (dict): Pixels of the pyramid to vectors, see
            :mod:`.encoders`.
        decoder (dict): Vectors to masks, see :mod:`.decoder`.
        loss_mask (dict): Loss of on-class logits and binary targets.
        mask_output (dict): What masks are given as, see
            :mod:`.mask_outputs`; ``DenseMasks`` where None.
        train_cfg (dict): ``mask_size``, the side of the masks, is the
            decoder's; it need not be said.
        test_cfg (dict): ``mask_thr_binary``, the probability from which on a
            pixel belongs to a mask, 0.5 if absent.

    Raises:
        ValueError: Levels of differently many anchors or of none, a part
            without a type or told otherwise than the head, a loss of another
            kind, a mask size that the decoder does not make, or a mask
            threshold outside of 0..1.
        KeyError: A part of a type that is not registered.
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
        mask_output: ConfigType = None,
        frame: float = 1.0,
        train_cfg: ConfigType = None,
        test_cfg: ConfigType = None,
        init_cfg: ConfigType = None,
    ) -> None:
        super().__init__(init_cfg)
        name = type(self).__name__
        check_whole(name, num_classes=num_classes, in_channels=in_channels)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.anchor_generator = TASK_UTILS.build(anchor_generator)
        anchors = getattr(self.anchor_generator, 'num_base_anchors', [])
        if len(set(anchors)) != 1:
            raise ValueError(
                f'{name}: anchor_generator must give equally many anchors at '
                f'every level, not {anchors}'
            )

        def part(registry, option, cfg, **told):
            """Build what a config chooses by type."""
            ours = [f'{__package__}.{module}' for module in PARTS[option]]
            return build_part(registry, name, option, cfg, ours, **told)

        self.sampler = part(TASK_UTILS, 'sampler', sampler)
        self.encoder = part(
            MODELS, 'encoder', encoder, in_channels=in_channels
        )
        self.decoder = part(
            MODELS,
            'decoder',
            decoder,
            num_classes=num_classes,
            in_channels=self.encoder.out_channels,
        )
        self.loss_mask = MODELS.build(loss_mask)
        self.mask_output = part(
            TASK_UTILS, 'mask_output', mask_output or dict(type='DenseMasks')
        )
        self.frame = frame
        self.mask_threshold = (test_cfg or {}).get('mask_thr_binary', 0.5)
        self._check_options(train_cfg or {})

    def _check_options(self, train_cfg: dict) -> None:
        """Refuse what its parts do not fit."""
        name, size = type(self).__name__, self.decoder.mask_size
        loss = self.loss_mask
        check(
            name,
            bool,
            'be True: a cell is in the mask or not',
            **{'loss_mask.use_sigmoid': getattr(loss, 'use_sigmoid', True)},
        )
        check(
            name,
            lambda value: value == 'mean',
            "be 'mean': it is averaged over pixels and cells",
            **{'loss_mask.reduction': getattr(loss, 'reduction', 'mean')},
        )
        check(
            name,
            lambda value: value == size,
            f'be {size}, what the decoder makes: 2 ** (num_linear + num_relu)',
            **{'train_cfg.mask_size': train_cfg.get('mask_size', size)},
        )
        check_number(
            name,
            lambda value: value > 0,
            'be a number above 0',
            frame=self.frame,
        )
        check_number(
            name,
            lambda value: 0 <= value <= 1,
            'lie in 0..1',
            **{'test_cfg.mask_thr_binary': self.mask_threshold},
        )

    def forward(
        self,
        feats: Sequence[Tensor],
        batch_indices: Tensor,
        pixels: Tensor,
        boxes: Tensor,
        labels: Tensor,
    ) -> Tensor:
        """Reconstruct masks.

        Args:
            feats: (N, C, H_l, W_l) of every level.
            batch_indices: (P,) the image of each mask.
            pixels: (P,) pixels of the pyramid, see :mod:`.pyramid`.
            boxes: (P, 4) the frame that each mask fills, in pixels of the
                network's input.
            labels: (P,) class of each.

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
        """Mean binary cross-entropy of the masks that train (3.1).

        Args:
            feats: (N, C, H_l, W_l) of every level.
            batch_data_samples: with ``gt_instances`` of boxes, labels, masks.

        Returns:
            ``loss_mask``.
        """
        batch_gt, _, img_metas = unpack_gt_instances(batch_data_samples)
        positives = [
            self.positives(gt, meta, feats)
            for gt, meta in zip(batch_gt, img_metas)
        ]
        # Sums over cells exceed half precision.
        logits = self._reconstruct(feats, positives).float()
        targets = torch.cat([p.targets for p in positives])
        count = reduce_mean(logits.new_tensor(float(len(logits))))
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
        """What trains the masks of one image.

        Args:
            gt: ``bboxes`` (G, 4), ``labels`` (G,) and ``masks`` of its
                objects.
            meta: its meta information.
            feats: (N, C, H_l, W_l) of every level.

        Returns:
            ``pixels`` (P,), ``boxes`` (P, 4), ``labels`` (P,) and ``targets``
            (P, S, S).
        """
        samples = self.sampler(self.anchors(feats, meta), gt.bboxes)
        samples = with_masks(samples, gt.masks)
        boxes = self.frames(samples.boxes)
        # Equal crops, as of the pixels of one object, are made once.
        keys = torch.cat([samples.instances[:, None].to(boxes), boxes], dim=1)
        crops, crop = keys.unique(dim=0, return_inverse=True)
        targets = mask_targets(
            gt.masks, crops[:, 0].long(), crops[:, 1:], self.decoder.mask_size
        )
        return InstanceData(
            pixels=samples.pixels,
            boxes=boxes,
            labels=gt.labels[samples.instances],
            targets=targets[crop],
        )

    def frames(self, boxes: Tensor) -> Tensor:
        """Boxes (n, 4) to what their masks fill, ``frame`` times as large."""
        return enlarged(boxes, self.frame)

    def anchors(self, feats: Sequence[Tensor], meta: dict) -> Tensor:
        """(L, A, 4) of an image's pixels; in the padding they have no area,
        and so overlap nothing."""
        generator, device = self.anchor_generator, feats[0].device
        sizes = pyramid_sizes(feats[: generator.num_levels])
        anchors = torch.cat(generator.grid_priors(sizes, device=device))
        valid = torch.cat(
            generator.valid_flags(sizes, meta['pad_shape'], device)
        )
        anchors[~valid] = 0
        return anchors.view(-1, generator.num_base_anchors[0], 4)

    def _reconstruct(
        self, feats: Sequence[Tensor], instances: InstanceList
    ) -> Tensor:
        """:meth:`forward` of all the images' ``pixels``, ``boxes`` and
        ``labels``."""
        batch_indices = torch.cat(
            [
                torch.full_like(per_image.pixels, n)
                for n, per_image in enumerate(instances)
            ]
        )
        return self(
            feats,
            batch_indices,
            torch.cat([i.pixels for i in instances]),
            torch.cat([i.boxes for i in instances]),
            torch.cat([i.labels for i in instances]),
        )

    def predict(
        self,
        feats: Sequence[Tensor],
        batch_data_samples: SampleList,
        results_list: InstanceList,
        rescale: bool = False,
    ) -> InstanceList:
        """Add masks to detections.

        Args:
            feats: (N, C, H_l, W_l) of every level.
            batch_data_samples: with the images' meta information.
            results_list: for every image ``bboxes``, ``labels`` and
                ``pixels``, see :func:`.detections.predict_boxes_and_pixels`.
            rescale: The boxes are at the images' original size, and so will
                the masks be.

        Returns:
            The results with ``masks``, by default (n, H, W) bool.
        """
        per_image = self.predict_maps(
            feats, batch_data_samples, results_list, rescale
        )
        for results, maps, sample in zip(
            results_list, per_image, batch_data_samples
        ):
            height, width = (
                sample.ori_shape if rescale else sample.img_shape
            )[:2]
            results.masks = self.mask_output(
                maps,
                self.frames(results.bboxes),
                height,
                width,
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
        """The masks of detections before they fill their frames.

        Args:
            As of :meth:`predict`.

        Returns:
            For every image (n, S, S) probabilities of its n detections.
        """
        instances = []
        for results, sample in zip(results_list, batch_data_samples):
            boxes = results.bboxes
            if rescale:  # back to the size that the network saw
                boxes = scale_boxes(boxes, sample.scale_factor)
            instances.append(
                InstanceData(
                    pixels=results.pixels,
                    boxes=self.frames(boxes),
                    labels=results.labels,
                )
            )
        probabilities = self._reconstruct(feats, instances).sigmoid()
        return probabilities.split([len(r) for r in results_list])
