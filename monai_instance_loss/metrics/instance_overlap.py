"""How well each true instance is segmented: its Dice score or IoU with the prediction that matches it."""

from __future__ import annotations

from typing import ClassVar

import torch

from monai_instance_loss.metrics.base import InstanceMetric
from monai_instance_loss.metrics.overlaps import OverlapTable
from monai_instance_loss.metrics.strata import Groups

__all__ = ["InstanceDiceMetric", "InstanceIoUMetric"]


class _InstanceOverlapMetric(InstanceMetric):
    measure: ClassVar[str]

    def tally(self, pairs: OverlapTable, true: Groups, pred: Groups) -> torch.Tensor:
        """Sum of the overlaps of true instances and their number, float64 (B, C, 2) or (B, C, bins, 2)."""
        every = torch.ones_like(pairs.true_voxels, dtype=torch.bool)
        return torch.stack([true.sum(pairs.measure_unions(self.measure)), true.count(every).double()], -1)

    def scores(self, tally: torch.Tensor) -> list[torch.Tensor]:
        """The mean over true instances, float32."""
        return [(tally[..., 0] / tally[..., 1]).float()]


class InstanceDiceMetric(_InstanceOverlapMetric):
    """Mean Dice score of the true instances, in [0, 1], 1 being best; a missed instance counts 0.

    Source: ours. Unlike in the lesion-wise Dice score of BraTS 2023, false predicted instances do not enter;
    ``InstanceConfusionMatrixMetric`` counts those. Units: none. Differentiable: nothing.

    Convention: a true instance is compared with the union of the predicted instances that it is matched with, each
    taken as a whole; with one partner each (``Matching.assignment``) that is the partner. By default it is matched with
    all that touch it, so that a prediction over two true instances is compared with each of them and is too large for
    both. NaN without a true instance.

    Called with ``y_pred`` and ``y``, binarised (B, C, H, W) or (B, C, H, W, D) of any dtype or lists of samples without
    B, it buffers and returns float64 (B, C, 2): the sum of the Dice scores, and the number of true instances. Options,
    reductions and bins of volume: those of ``InstanceMetric``.

    Raises:
        TypeError: an option or, on call, ``y_pred`` or ``y`` has the wrong type.
        ValueError: an option is unknown or out of range; (on call) shapes differ or are not 2D or 3D, values are not
            binary, or no spacing is known where one is needed.

    Example:
        >>> import torch
        >>> metric = InstanceDiceMetric()
        >>> y = torch.tensor([[1, 1, 0, 1, 0, 0]])[None, None]
        >>> y_pred = torch.tensor([[0, 1, 0, 0, 0, 1]])[None, None]  # 2 * 1 / (2 + 1), and a miss
        >>> _ = metric(y_pred, y)
        >>> metric.aggregate()
        tensor([0.3333])
    """

    measure = "dice"


class InstanceIoUMetric(_InstanceOverlapMetric):
    """Mean intersection over union of the true instances, in [0, 1], 1 being best; a missed instance counts 0.

    Source: ours. Units: none. Differentiable: nothing.

    Convention: a true instance is compared with the union of the predicted instances that it is matched with, by
    default all that touch it, each taken as a whole. False predicted instances do not enter. NaN without a true one.

    Called with ``y_pred`` and ``y``, binarised (B, C, H, W) or (B, C, H, W, D) of any dtype or lists of samples without
    B, it buffers and returns float64 (B, C, 2): the sum of the IoUs, and the number of true instances. Options,
    reductions and bins of volume: those of ``InstanceMetric``.

    Raises:
        TypeError: an option or, on call, ``y_pred`` or ``y`` has the wrong type.
        ValueError: an option is unknown or out of range; (on call) shapes differ or are not 2D or 3D, values are not
            binary, or no spacing is known where one is needed.

    Example:
        >>> import torch
        >>> metric = InstanceIoUMetric()
        >>> y = torch.tensor([[1, 1, 0, 1, 0, 0]])[None, None]
        >>> y_pred = torch.tensor([[0, 1, 0, 0, 0, 1]])[None, None]  # 1 / 2, and a miss
        >>> _ = metric(y_pred, y)
        >>> metric.aggregate()
        tensor([0.2500])
    """

    measure = "iou"
