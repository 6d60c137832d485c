"""Which instances of a prediction and of a ground truth find each other, counted per sample and channel."""

from __future__ import annotations

from typing import NamedTuple

import torch

from monai_instance_loss.instances import Instances, label_instances, touching_pairs

__all__ = ["InstanceCounts", "match_by_touch"]


class InstanceCounts(NamedTuple):
    """Numbers of instances, one tensor a field, all of one shape, (B, C) from ``match_by_touch``.

    Source: ours. One prediction may find several true instances and several predictions one, so that ``detected`` and
    ``matched``, the true positives of either side, differ in general.

    Attributes:
        detected: true instances that a prediction touches.
        missed: true instances that no prediction touches.
        matched: predicted instances that touch a true instance.
        false: predicted instances that touch none.
    """

    detected: torch.Tensor
    missed: torch.Tensor
    matched: torch.Tensor
    false: torch.Tensor


def match_by_touch(y_pred: torch.Tensor, y: torch.Tensor, connectivity: int | None = None) -> InstanceCounts:
    """Count found and missed true instances and matched and false predicted ones; each count is 0 or more.

    Source: the lesion detection of the WMH Segmentation Challenge (Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770).
    A true instance is detected when it shares at least one voxel with the prediction; a predicted instance is false
    when it shares none with the ground truth. Differentiable: nothing.

    Args:
        y_pred: prediction (B, C, H, W) or (B, C, H, W, D), any dtype; everything that is not zero is foreground.
        y: ground truth of the same shape.
        connectivity: largest number of orthogonal steps between neighbouring voxels of an instance, 1..number of
            spatial dimensions; ``None`` is full connectivity, which the challenge uses.

    Returns:
        int64 (B, C) counts of instances.

    Raises:
        TypeError: an argument is not a tensor.
        ValueError: the shapes differ or are not 4D or 5D, a mask is not finite, or ``connectivity`` is out of range.

    Example:
        >>> import torch
        >>> y = torch.tensor([[1, 0, 1, 0, 1, 0, 0]])[None, None]
        >>> y_pred = torch.tensor([[1, 1, 1, 0, 0, 0, 1]])[None, None]
        >>> [count.item() for count in match_by_touch(y_pred, y)]
        [2, 1, 1, 1]
    """
    pred, true = label_instances(y_pred, connectivity), label_instances(y, connectivity)
    if pred.labels.shape != true.labels.shape:
        raise ValueError(
            f"Expected `y` to have the shape of `y_pred`, {tuple(y_pred.shape)}, but got {tuple(y.shape)}."
        )
    true_ids, pred_ids, _ = touching_pairs(true.labels, pred.labels)
    return InstanceCounts(*_split(true, true_ids), *_split(pred, pred_ids))


def _split(instances: Instances, touched_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many instances of each sample and channel are among ``touched_ids``, and how many are not."""
    touched = torch.zeros(instances.count, dtype=torch.bool, device=touched_ids.device)
    touched[touched_ids - 1] = True
    shape = instances.labels.shape[:2]
    found = torch.bincount(instances.block[touched], minlength=shape.numel()).view(shape)
    return found, torch.bincount(instances.block, minlength=shape.numel()).view(shape) - found
