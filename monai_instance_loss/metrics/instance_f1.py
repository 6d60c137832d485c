"""Instance F1: precision over predicted instances, sensitivity over true ones."""

from __future__ import annotations

from collections.abc import Sequence

from monai.utils import MetricReduction

from monai_instance_loss.metrics.confusion_matrix import InstanceConfusionMatrixMetric
from monai_instance_loss.metrics.matching import Matching

__all__ = ["InstanceF1Metric"]


class InstanceF1Metric(InstanceConfusionMatrixMetric):
    """F1 score over instances, in [0, 1], 1 being best: the harmonic mean of precision and sensitivity.

    Source: the WMH Segmentation Challenge (Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770). Precision is the part of
    the predicted instances that touch a true one, sensitivity the part of the true instances that a prediction
    touches. They count different things, so that F1 is not 2 TP / (2 TP + FP + FN).

    NaN, and left out of every reduction, when there is neither a true nor a predicted instance (the challenge gives
    1); 0 when only one side has instances or nothing matches. Units: none. Differentiable: nothing.

    Arguments, shapes, reductions and errors: see ``InstanceMetric``. It is ``InstanceConfusionMatrixMetric`` with
    ``metric_name="f1"``.

    Example:
        >>> import torch
        >>> metric = InstanceF1Metric()
        >>> y = torch.tensor([[1, 0, 1, 0, 1, 0, 0]])[None, None]
        >>> y_pred = torch.tensor([[1, 1, 1, 0, 0, 0, 1]])[None, None]  # precision 1/2, sensitivity 2/3
        >>> _ = metric(y_pred, y)
        >>> metric.aggregate()
        tensor([0.5714])
    """

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        connectivity: int | None = None,
        ignore_index: int | None = None,
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
            metric_name="f1",
            matching=matching,
            volume_edges_mm3=volume_edges_mm3,
            spacing_mm=spacing_mm,
            is_instances=is_instances,
        )
