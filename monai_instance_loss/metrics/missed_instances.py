"""Missed instances: true instances that no prediction touches."""

from __future__ import annotations

from collections.abc import Sequence

from monai.utils import MetricReduction

from monai_instance_loss.metrics.confusion_matrix import InstanceConfusionMatrixMetric
from monai_instance_loss.metrics.matching import Matching

__all__ = ["MissedInstancesMetric"]


class MissedInstancesMetric(InstanceConfusionMatrixMetric):
    """True instances that no prediction touches: a number from 0 up, or with ``as_rate`` a part in [0, 1]; 0 is best.

    Source: the WMH Segmentation Challenge (Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770), where the rate is one
    minus the recall. Without a true instance the number is 0 and the rate NaN (the challenge gives a recall of 1).
    Units: instances. Differentiable: nothing.

    Arguments, shapes, reductions and errors: see ``InstanceMetric``. It is ``InstanceConfusionMatrixMetric`` with
    ``metric_name="missed"`` or ``"missed_rate"``.

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
        *,
        matching: Matching | None = None,
        volume_edges_mm3: Sequence[float] | None = None,
        spacing_mm: Sequence[float] | None = None,
        is_instances: bool = False,
    ) -> None:
        super().__init__(
            include_background,
            reduction,
            get_not_nans,
            connectivity,
            ignore_index,
            metric_name="missed_rate" if as_rate else "missed",
            matching=matching,
            volume_edges_mm3=volume_edges_mm3,
            spacing_mm=spacing_mm,
            is_instances=is_instances,
        )
        self.as_rate = as_rate
