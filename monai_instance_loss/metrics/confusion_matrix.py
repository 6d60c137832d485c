"""The confusion matrix of instances, found, missed and false ones, and the scores that have a class of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from monai.utils import MetricReduction

from monai_instance_loss.metrics.base import InstanceMetric
from monai_instance_loss.metrics.count_scores import BY_TOUCH, NAMES, canonical_name, score_counts
from monai_instance_loss.metrics.matching import Matching, count_pairs
from monai_instance_loss.metrics.names import checked_names
from monai_instance_loss.metrics.overlaps import OverlapTable
from monai_instance_loss.metrics.strata import Groups

__all__ = ["FalseInstancesMetric", "InstanceConfusionMatrixMetric", "InstanceF1Metric", "MissedInstancesMetric"]


class _CountMetric(InstanceMetric):
    metric_name: str | tuple[str, ...] = "f1"
    beta: float = 1.0

    @property
    def _names(self) -> tuple[str, ...]:
        return (self.metric_name,) if isinstance(self.metric_name, str) else self.metric_name

    def tally(self, pairs: OverlapTable, true: Groups, pred: Groups) -> torch.Tensor:
        """Counts in the order of ``InstanceCounts`` and, where a name asks for them, merged and split, all int64."""
        counts = list(count_pairs(pairs, true, pred))
        if not set(BY_TOUCH).isdisjoint(self._names):
            counts += [pred.count(pairs.merged), true.count(pairs.split)]
        return torch.stack(counts, -1)

    def scores(self, tally: torch.Tensor) -> list[torch.Tensor]:
        """The score of each name, float32."""
        return [score_counts(tally, name, self.beta) for name in self._names]


class InstanceConfusionMatrixMetric(_CountMetric):
    """Scores of found, missed and false instances, what MONAI's ``ConfusionMatrixMetric`` is for voxels.

    Source: with the default matching the WMH Segmentation Challenge (Kuijf et al. 2019,
    doi:10.1109/TMI.2019.2905770), else as ``Matching`` says; merged and split are ours. Units: instances, or none.
    Differentiable: nothing.

    Convention: sensitivity is the part of the *true* instances that are in a pair, precision the part of the
    *predicted* ones. With one partner each (``Matching.assignment``) both have the same true positives, and F1 is
    2 TP / (2 TP + FP + FN). With ``"many"`` they count different things, and F1 is the harmonic mean of the two. There
    are no true negatives, and so no specificity or accuracy. Merged and split are counted by touch, which is a shared
    voxel, whatever the matching; 0 is best.

    | name | value | range |
    |---|---|---|
    | ``"tp"`` | true instances in a pair | 0 and up |
    | ``"fp"``, ``"false"`` | predicted instances in no pair | 0 and up |
    | ``"fn"``, ``"missed"`` | true instances in no pair | 0 and up |
    | ``"sensitivity"`` | part of the true instances in a pair | [0, 1] or NaN |
    | ``"precision"`` | part of the predicted instances in a pair | [0, 1] or NaN |
    | ``"f1"``, ``"fbeta"`` | their harmonic mean; weighted, sensitivity ``beta`` times | [0, 1] or NaN |
    | ``"missed_rate"`` | 1 - sensitivity | [0, 1] or NaN |
    | ``"false_rate"`` | 1 - precision | [0, 1] or NaN |
    | ``"merged"`` | predicted instances that touch two true ones or more | 0 and up |
    | ``"split"`` | true instances that two predicted ones or more touch | 0 and up |
    | ``"count_difference"`` | predicted less true instances | any |
    | ``"absolute_count_difference"`` | its absolute value | 0 and up |

    MONAI's other names for the rates (``"recall"``, ``"hit_rate"``, ``"ppv"``, ``"miss_rate"``, ``"fdr"``, ...) work
    too. Counts without instances are 0; a rate without anything to divide by is NaN; F1 is NaN where there is neither
    a true nor a predicted instance, and 0 where only one side has some or nothing matches.

    Called with ``y_pred`` and ``y``, binarised (B, C, H, W) or (B, C, H, W, D) of any dtype or lists of samples without
    B, it buffers and returns int64 counts (B, C, 4) in the order of ``InstanceCounts``, (B, C, 6) with merged and split
    where one of the two is asked for. The other arguments, reductions and bins of volume are those of
    ``InstanceMetric``.

    Args:
        metric_name: a name, or a sequence of names, for which ``aggregate`` returns a list.
        beta: for ``"fbeta"``: how many times as much sensitivity weighs as precision, above 0.

    Raises:
        TypeError: an option or, on call, ``y_pred`` or ``y`` has the wrong type.
        ValueError: a name or another option is unknown or out of range, or ``beta`` is given without ``"fbeta"``; (on
            call) shapes differ or are not 2D or 3D, values are not binary, or no spacing is known where one is needed.

    Example:
        >>> import torch
        >>> metric = InstanceConfusionMatrixMetric(metric_name=["tp", "fp", "fn", "precision", "merged"])
        >>> y, y_pred = torch.tensor([[[[1, 0, 1, 0, 1, 0, 0]]]]), torch.tensor([[[[1, 1, 1, 0, 0, 0, 1]]]])
        >>> _ = metric(y_pred, y)
        >>> [score.item() for score in metric.aggregate()]
        [2.0, 1.0, 1.0, 0.5, 1.0]
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
        super().__init__(
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
        self.metric_name = checked_names(metric_name, canonical_name, NAMES)
        if isinstance(beta, bool) or not isinstance(beta, (int, float)) or not 0 < beta < math.inf:
            raise ValueError(f"Expected `beta` to be a positive finite number, but got {beta!r}.")
        if beta != 1 and "fbeta" not in self._names:
            raise ValueError(f"Expected `beta` to be 1 without the score 'fbeta', but got {beta}.")
        self.beta = beta


class InstanceF1Metric(_CountMetric):
    """F1 score over instances, in [0, 1], 1 being best: the harmonic mean of precision and sensitivity.

    Source: the WMH Segmentation Challenge (Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770). Precision is the part of
    the predicted instances that touch a true one, sensitivity the part of the true instances that a prediction
    touches. They count different things, so that F1 is not 2 TP / (2 TP + FP + FN).

    NaN, and left out of every reduction, when there is neither a true nor a predicted instance (the challenge gives
    1); 0 when only one side has instances or nothing matches. Units: none. Differentiable: nothing.

    It is the ``"f1"`` of ``InstanceConfusionMatrixMetric``, from the same (B, C, H, W) or (B, C, H, W, D); it buffers
    int64 (B, C, 4). Options, reductions and bins of volume: those of ``InstanceMetric``.

    Raises:
        TypeError: an option or, on call, ``y_pred`` or ``y`` has the wrong type.
        ValueError: an option is unknown or out of range; (on call) shapes differ or are not 2D or 3D, values are not
            binary, or no spacing is known where one is needed.

    Example:
        >>> import torch
        >>> metric = InstanceF1Metric()
        >>> y = torch.tensor([[1, 0, 1, 0, 1, 0, 0]])[None, None]
        >>> y_pred = torch.tensor([[1, 1, 1, 0, 0, 0, 1]])[None, None]  # precision 1/2, sensitivity 2/3
        >>> _ = metric(y_pred, y)
        >>> metric.aggregate()
        tensor([0.5714])
    """


class _NumberOrRate(_CountMetric):
    number_and_rate: tuple[str, str]

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
            matching=matching,
            volume_edges_mm3=volume_edges_mm3,
            spacing_mm=spacing_mm,
            is_instances=is_instances,
        )
        self.as_rate = as_rate
        self.metric_name = self.number_and_rate[as_rate]


class MissedInstancesMetric(_NumberOrRate):
    """True instances that no prediction touches: a number from 0 up, or with ``as_rate`` a part in [0, 1]; 0 is best.

    Source: the WMH Segmentation Challenge (Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770), where the rate is one
    minus the recall. Without a true instance the number is 0 and the rate NaN (the challenge gives a recall of 1).
    Units: instances. Differentiable: nothing.

    It is the ``"missed"`` or ``"missed_rate"`` of ``InstanceConfusionMatrixMetric``, from the same (B, C, H, W) or
    (B, C, H, W, D); it buffers int64 (B, C, 4). Options, reductions and bins of volume: those of ``InstanceMetric``.

    Args:
        as_rate: whether to divide by the number of true instances.

    Raises:
        TypeError: an option or, on call, ``y_pred`` or ``y`` has the wrong type.
        ValueError: an option is unknown or out of range; (on call) shapes differ or are not 2D or 3D, values are not
            binary, or no spacing is known where one is needed.

    Example:
        >>> import torch
        >>> metric = MissedInstancesMetric(as_rate=True)
        >>> y, y_pred = torch.tensor([[[[1, 0, 1, 0, 1, 0, 0]]]]), torch.tensor([[[[1, 1, 1, 0, 0, 0, 1]]]])
        >>> _ = metric(y_pred, y)
        >>> metric.aggregate()
        tensor([0.3333])
    """

    number_and_rate = "fn", "missed_rate"


class FalseInstancesMetric(_NumberOrRate):
    """Predicted instances that touch no true one: a number from 0 up, or with ``as_rate`` a part in [0, 1]; 0 is best.

    Source: the WMH Segmentation Challenge (Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770), where the rate is one
    minus the precision. Without a predicted instance the number is 0 and the rate NaN (the challenge gives a
    precision of 1). Units: instances. Differentiable: nothing.

    It is the ``"false"`` or ``"false_rate"`` of ``InstanceConfusionMatrixMetric``, from the same (B, C, H, W) or
    (B, C, H, W, D); it buffers int64 (B, C, 4). Options, reductions and bins of volume: those of ``InstanceMetric``.

    Args:
        as_rate: whether to divide by the number of predicted instances.

    Raises:
        TypeError: an option or, on call, ``y_pred`` or ``y`` has the wrong type.
        ValueError: an option is unknown or out of range; (on call) shapes differ or are not 2D or 3D, values are not
            binary, or no spacing is known where one is needed.

    Example:
        >>> import torch
        >>> metric = FalseInstancesMetric()
        >>> y, y_pred = torch.tensor([[[[1, 0, 1, 0, 1, 0, 0]]]]), torch.tensor([[[[1, 1, 1, 0, 0, 0, 1]]]])
        >>> _ = metric(y_pred, y)
        >>> metric.aggregate()
        tensor([1.])
    """

    number_and_rate = "fp", "false_rate"
