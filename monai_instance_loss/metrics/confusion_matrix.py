"""The confusion matrix of instances: found, missed and false ones, and the scores made of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from monai.metrics.confusion_matrix import check_confusion_matrix_metric_name
from monai.utils import MetricReduction

from monai_instance_loss.metrics.base import InstanceCountMetric, InstanceMetric
from monai_instance_loss.metrics.matching import InstanceCounts, Matching
from monai_instance_loss.metrics.names import checked_names

__all__ = ["InstanceConfusionMatrixMetric"]


class InstanceConfusionMatrixMetric(InstanceCountMetric):
    """Scores of found, missed and false instances, what MONAI's ``ConfusionMatrixMetric`` is for voxels.

    Source: with the default matching the WMH Segmentation Challenge (Kuijf et al. 2019,
    doi:10.1109/TMI.2019.2905770), else as ``Matching`` says. Units: instances, or none. Differentiable: nothing.

    Convention: sensitivity is the part of the *true* instances that are in a pair, precision the part of the
    *predicted* ones. With one partner each (``Matching.assignment``) both have the same true positives, and F1 is
    2 TP / (2 TP + FP + FN). With ``"many"`` they count different things, and F1 is the harmonic mean of the two. There
    are no true negatives, and so no specificity or accuracy.

    ======================================== ========================================================== =============
    name                                     value                                                      range
    ======================================== ========================================================== =============
    ``"tp"``                                 true instances in a pair                                   0 and up
    ``"fp"``, ``"false"``                    predicted instances in no pair                             0 and up
    ``"fn"``, ``"missed"``                   true instances in no pair                                  0 and up
    ``"sensitivity"``                        part of the true instances in a pair                       [0, 1] or NaN
    ``"precision"``                          part of the predicted instances in a pair                  [0, 1] or NaN
    ``"f1"``, ``"fbeta"``                    their harmonic mean; weighted, sensitivity ``beta`` times  [0, 1] or NaN
    ``"missed_rate"``                        1 - sensitivity                                            [0, 1] or NaN
    ``"false_rate"``                         1 - precision                                              [0, 1] or NaN
    ``"count_difference"``                   predicted less true instances                              any
    ``"absolute_count_difference"``          its absolute value                                         0 and up
    ======================================== ========================================================== =============

    MONAI's other names for the rates (``"recall"``, ``"hit_rate"``, ``"ppv"``, ``"miss_rate"``, ``"fdr"``, ...) work
    too. Counts without instances are 0; a rate without anything to divide by is NaN; F1 is NaN where there is neither
    a true nor a predicted instance, and 0 where only one side has some or nothing matches.

    Arguments, shapes, reductions, bins of volume and errors: see ``InstanceMetric``, and:

    Args:
        metric_name: a name, or a sequence of names, for which ``aggregate`` returns a list.
        beta: for ``"fbeta"``: how many times as much sensitivity weighs as precision, above 0.

    Raises:
        ValueError: a name is unknown, or ``beta`` is not a positive number, or given without ``"fbeta"``.

    Example:
        >>> import torch
        >>> metric = InstanceConfusionMatrixMetric(metric_name=["tp", "fp", "fn", "precision"])
        >>> y = torch.tensor([[1, 0, 1, 0, 1, 0, 0]])[None, None]
        >>> y_pred = torch.tensor([[1, 1, 1, 0, 0, 0, 1]])[None, None]
        >>> _ = metric(y_pred, y)
        >>> [score.item() for score in metric.aggregate()]
        [2.0, 1.0, 1.0, 0.5]
    """

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        connectivity: int | None = None,
        ignore_index: int | None = None,
        *,
        metric_name: Sequence[str] | str = "f1",
        beta: float = 1.0,
        matching: Matching | None = None,
        volume_edges_mm3: Sequence[float] | None = None,
        spacing_mm: Sequence[float] | None = None,
        is_instances: bool = False,
    ) -> None:
        # past InstanceCountMetric, whose scores know no more than touch
        InstanceMetric.__init__(
            self,
            include_background,
            reduction,
            get_not_nans,
            connectivity,
            ignore_index,
            matching=matching,
            volume_edges_mm3=volume_edges_mm3,
            spacing_mm=spacing_mm,
            is_instances=is_instances,
        )
        self.metric_name = checked_names(metric_name, _canonical, _SCORES)
        if isinstance(beta, bool) or not isinstance(beta, (int, float)) or not 0 < beta < math.inf:
            raise ValueError(f"Expected `beta` to be a positive finite number, but got {beta!r}.")
        if beta != 1 and "fbeta" not in self._names:
            raise ValueError(f"Expected `beta` to be 1 without the score 'fbeta', but got {beta}.")
        self.beta = beta

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.metric_name,) if isinstance(self.metric_name, str) else self.metric_name

    def score(self, counts: InstanceCounts) -> torch.Tensor:
        """The first of the scores of each element of the counts, float32."""
        return self._score(self._names[0], counts)

    def scores(self, tally: torch.Tensor) -> list[torch.Tensor]:
        """The score of each name."""
        counts = InstanceCounts(*tally.unbind(-1))
        return [self._score(name, counts) for name in self._names]

    def _score(self, name: str, counts: InstanceCounts) -> torch.Tensor:
        return _fbeta(counts, self.beta) if name == "fbeta" else _SCORES[name](counts)


def _fbeta(counts: InstanceCounts, beta: float = 1.0) -> torch.Tensor:
    true, pred = counts.detected + counts.missed, counts.matched + counts.false
    sensitivity, precision = counts.detected / true.clamp(min=1), counts.matched / pred.clamp(min=1)
    total = sensitivity + beta**2 * precision
    score = torch.where(total > 0, (1 + beta**2) * sensitivity * precision / total, 0.0)
    return torch.where(true + pred == 0, torch.nan, score)


def _difference(counts: InstanceCounts) -> torch.Tensor:
    return (counts.matched + counts.false - counts.detected - counts.missed).float()


_SCORES: dict[str, Callable[[InstanceCounts], torch.Tensor]] = {
    "tp": lambda counts: counts.detected.float(),
    "fp": lambda counts: counts.false.float(),
    "fn": lambda counts: counts.missed.float(),
    "sensitivity": lambda counts: counts.detected / (counts.detected + counts.missed),
    "precision": lambda counts: counts.matched / (counts.matched + counts.false),
    "f1": _fbeta,
    "fbeta": _fbeta,
    "missed_rate": lambda counts: counts.missed / (counts.detected + counts.missed),
    "false_rate": lambda counts: counts.false / (counts.matched + counts.false),
    "count_difference": _difference,
    "absolute_count_difference": lambda counts: _difference(counts).abs(),
}

_OURS = {"missed": "fn", "false": "fp"}
_OF_MONAI = {"tpr": "sensitivity", "ppv": "precision", "fnr": "missed_rate", "fdr": "false_rate", "f1": "f1"}


def _canonical(name: str) -> str | None:
    if name in _SCORES:
        return name
    if name in _OURS:
        return _OURS[name]
    try:
        return _OF_MONAI.get(check_confusion_matrix_metric_name(name))
    except NotImplementedError:
        return None
