"""Instance F1: precision over predicted instances, sensitivity over true ones."""

from __future__ import annotations

import torch

from monai_instance_loss.metrics.base import InstanceCountMetric
from monai_instance_loss.metrics.matching import InstanceCounts

__all__ = ["InstanceF1Metric"]


class InstanceF1Metric(InstanceCountMetric):
    """F1 score over instances, in [0, 1], 1 being best: the harmonic mean of precision and sensitivity.

    Source: the WMH Segmentation Challenge (Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770). Precision is the part of
    the predicted instances that touch a true one, sensitivity the part of the true instances that a prediction
    touches. They count different things, so that F1 is not 2 TP / (2 TP + FP + FN).

    NaN, and left out of every reduction, when there is neither a true nor a predicted instance (the challenge gives
    1); 0 when only one side has instances or nothing matches. Units: none. Differentiable: nothing.

    Arguments, shapes, reductions and errors: see ``InstanceCountMetric``.

    Example:
        >>> import torch
        >>> metric = InstanceF1Metric()
        >>> y = torch.tensor([[1, 0, 1, 0, 1, 0, 0]])[None, None]
        >>> y_pred = torch.tensor([[1, 1, 1, 0, 0, 0, 1]])[None, None]  # precision 1/2, sensitivity 2/3
        >>> _ = metric(y_pred, y)
        >>> metric.aggregate()
        tensor([0.5714])
    """

    def score(self, counts: InstanceCounts) -> torch.Tensor:
        """F1 of each element of the counts, float32."""
        true, pred = counts.detected + counts.missed, counts.matched + counts.false
        sensitivity, precision = counts.detected / true.clamp(min=1), counts.matched / pred.clamp(min=1)
        total = sensitivity + precision
        f1 = torch.where(total > 0, 2 * sensitivity * precision / total, 0.0)
        return torch.where(true + pred == 0, torch.nan, f1)
