"""RTMDet's assigner for images with many objects."""

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import (
    AssignResult,
    DynamicSoftLabelAssigner,
)
from mmdet.models.task_modules.assigners.dynamic_soft_label_assigner import (
    EPS,
    INF,
    center_of_mass,
)
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor


def soft_label_cost(logits: Tensor, target: Tensor) -> Tensor:
    """Quality focal loss (beta 2) of each element, of the same shape."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction='none')
    return loss * (target - logits.sigmoid()).square()


def classification_cost(
    logits: Tensor, labels: Tensor, ious: Tensor
) -> Tensor:
    """Cost of the classes of each prediction for each object.

    Of an object only its own class has a target, the IoU. What the other
    classes cost does not depend on the object, so it is computed once.

    Args:
        logits: (N, C) of the predictions.
        labels: (P,) class indices of the objects.
        ious: (N, P).

    Returns:
        (N, P).
    """
    background = soft_label_cost(logits, torch.zeros_like(logits))
    others = background.sum(1, keepdim=True) - background[:, labels]
    return others + soft_label_cost(logits[:, labels], ious)


@TASK_UTILS.register_module()
class CompactSoftLabelAssigner(DynamicSoftLabelAssigner):
    """Assign as DynamicSoftLabelAssigner does, in less memory and time.

    MMDetection's compares each prediction with each object in each class:
    with 500 objects that needs gigabytes. This one needs a number for each
    prediction and object. Costs differ by rounding only. Boxes are
    horizontal; arguments are those of DynamicSoftLabelAssigner.
    """

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs,
    ) -> AssignResult:
        """Assign objects to the N predictions of an image.

        Args:
            pred_instances: ``priors`` (N, 4), x, y and strides in pixels,
                ``bboxes`` (N, 4) and ``scores`` (N, C), the logits.
            gt_instances: ``bboxes`` (P, 4), ``labels`` (P,) and, if their
                centres of mass are to count, ``masks`` (P, H, W).
            gt_instances_ignore, kwargs: Not used, as in the base class.
        """
        boxes = get_box_tensor(gt_instances.bboxes)
        priors = pred_instances.priors
        from_corner = priors[:, None, :2] - boxes[:, :2]
        to_corner = boxes[:, 2:] - priors[:, None, :2]
        inside = (torch.minimum(from_corner, to_corner) > 0).all(-1).any(-1)
        if not inside.any():
            return super().assign(pred_instances, gt_instances)

        labels = gt_instances.labels.long()
        ious = self.iou_calculator(pred_instances.bboxes[inside], boxes)
        if 'masks' in gt_instances:
            centers = center_of_mass(gt_instances.masks, eps=EPS)
        else:
            centers = (boxes[:, :2] + boxes[:, 2:]) / 2
        distances = torch.linalg.vector_norm(
            priors[inside, None, :2] - centers, dim=-1
        )
        cost = classification_cost(pred_instances.scores[inside], labels, ious)
        cost -= self.iou_weight * torch.log(ious + EPS)
        cost += 10 ** (
            distances / priors[inside, 2:3] - self.soft_center_radius
        )
        # Sets the elements of `inside` that get no object to False.
        matched_ious, objects = self.dynamic_k_matching(
            cost, ious, len(boxes), inside
        )
        assigned = torch.zeros_like(inside, dtype=torch.long)
        assigned[inside] = objects + 1
        assigned_labels = torch.full_like(assigned, -1)
        assigned_labels[inside] = labels[objects]
        overlaps = torch.full_like(priors[:, 0], -INF)
        overlaps[inside] = matched_ious
        return AssignResult(len(boxes), assigned, overlaps, assigned_labels)
