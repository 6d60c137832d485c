"""Missed instances: true instances that no prediction touches."""

from __future__ import annotations

import torch
from monai.utils import MetricReduction

from monai_instance_loss.metrics.base import InstanceCountMetric
from monai_instance_loss.metrics.matching import InstanceCounts

__all__ = ["MissedInstancesMetric"]


class MissedInstancesMetric(InstanceCountMetric):
    """True instances that no prediction touches: a number from 0 up, or with ``as_rate`` a part in [0, 1]; 0 is best.

    Source: the WMH Segmentation Challenge (Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770), where the rate is one
    minus the recall. Without a true instance the number is 0 and the rate NaN (the challenge gives a recall of 1).
    Units: instances. Differentiable: nothing.

    Arguments, shapes, reductions and errors: see ``InstanceCountMetric``, and:

    Args:
        as_rate: whether to divide by the number of true instances.

    Example:
        >>> import torch
        >>> metric = MissedInstancesMetric(as_rate=True)
        >>> y = torch.tensor([[1, 0, 1, 0, 1, 0, 0]])[None, None]
        >>> y_pred = torch.tensor([[1, 1, 1, 0, 0, 0, 1]])[None, None]
        >>> _ = metric(y_pred, y)
        >>> metric.aggregate()
        tensor([0.3333])
    """

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        connectivity: int | None = None,
        ignore_index: int | None = None,
        as_rate: bool = False,
    ) -> None:
        super().__init__(include_background, reduction, get_not_nans, connectivity, ignore_index)
        self.as_rate = as_rate

    def score(self, counts: InstanceCounts) -> torch.Tensor:
        """Number or rate of missed instances of each element of the counts, float32."""
        return counts.missed / (counts.detected + counts.missed) if self.as_rate else counts.missed.float()
