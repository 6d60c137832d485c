"""Panoptic quality: how well instances are recognised, times how well those are segmented."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.utils import MetricReduction

from monai_instance_loss.metrics.assignment import ONE_PARTNER
from monai_instance_loss.metrics.base import InstanceMetric
from monai_instance_loss.metrics.matching import Matching, count_pairs
from monai_instance_loss.metrics.names import checked_names
from monai_instance_loss.metrics.overlaps import OverlapTable
from monai_instance_loss.metrics.strata import Groups

__all__ = ["PanopticQuality", "PanopticQualityMetric"]

_LONG_NAMES = {"panoptic_quality": "pq", "segmentation_quality": "sq", "recognition_quality": "rq"}
_NAMES = {**_LONG_NAMES, **{name: name for name in _LONG_NAMES.values()}}


class PanopticQualityMetric(InstanceMetric):
    """Panoptic, segmentation or recognition quality, each in [0, 1], 1 being best, from masks or instance maps.

    Source: Kirillov et al., Panoptic Segmentation, CVPR 2019. With TP pairs, and FP predicted and FN true instances in
    none, RQ = TP / (TP + FP / 2 + FN / 2), SQ = mean IoU of the pairs, PQ = their summed IoU / (TP + FP / 2 + FN / 2).
    Unlike MONAI's ``PanopticQualityMetric`` it takes binarised channels, (B, C, *spatial), one class each, and labels
    them; it is exact (nothing is added to numerator or denominator) and its cost does not grow with pairs that do not
    touch. Units: none. Differentiable: nothing.

    Convention: instances match one to one, by default where their IoU is above 0.5, which cannot hold for two. NaN: PQ
    and RQ without any instance, SQ without a pair. Per bin of volume a pair, with its IoU, counts in the bin of its
    true instance.

    Called with ``y_pred`` and ``y``, (B, C, H, W) or (B, C, H, W, D) of any dtype or lists of samples without B, it
    buffers and returns TP, FP, FN and the sum of the IoUs, float64 (B, C, 4), so that ``"pooled"`` gives the quality
    over a data set. The other arguments, reductions and bins of volume are those of ``InstanceMetric``.

    Args:
        metric_name: ``"pq"``, ``"sq"`` or ``"rq"``, or a sequence of them, for which ``aggregate`` returns a list.
        matching: None is ``Matching("iou", threshold=0.5, assignment="greedy")``. Lower thresholds and other criteria
            need one partner each as well.

    Raises:
        TypeError: an option or, on call, ``y_pred`` or ``y`` has the wrong type.
        ValueError: a name or another option is unknown or out of range, or ``matching`` allows several partners; (on
            call) shapes differ or are not 2D or 3D, values are not binary or, in a map, not whole, or no spacing is
            known where one is needed.

    Example:
        >>> import torch
        >>> metric = PanopticQualityMetric(metric_name=["pq", "sq", "rq"])
        >>> y = torch.tensor([[1, 1, 1, 0, 1, 0, 0]])[None, None]
        >>> y_pred = torch.tensor([[1, 1, 0, 0, 0, 0, 1]])[None, None]  # one pair of IoU 2/3, one miss, one false
        >>> _ = metric(y_pred, y)
        >>> metric.aggregate()
        [tensor([0.3333]), tensor([0.6667]), tensor([0.5000])]
    """

    default_matching = Matching("iou", threshold=0.5, assignment="greedy")

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        connectivity: int | None = None,
        ignore_index: int | None = None,
        *,
        metric_name: Sequence[str] | str = "pq",
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
        if self.matching.assignment not in ONE_PARTNER:
            raise ValueError(
                f"Expected the assignment of `matching` to give one partner each, but got {self.matching.assignment!r}."
            )
        self.metric_name = checked_names(metric_name, _NAMES.get, ["pq", "sq", "rq"])

    def tally(self, pairs: OverlapTable, true: Groups, pred: Groups) -> torch.Tensor:
        """TP, FP, FN and the sum of the IoUs, float64 (B, C, 4) or (B, C, bins, 4)."""
        detected, missed, _, false = count_pairs(pairs, true, pred)
        iou = true.sum(pairs.measure_unions("iou"))
        return torch.stack([detected.double(), false.double(), missed.double(), iou], -1)

    def scores(self, tally: torch.Tensor) -> list[torch.Tensor]:
        """The quality of each name, float32."""
        tp, fp, fn, iou = tally.unbind(-1)
        total = tp + fp / 2 + fn / 2
        qualities = {"pq": iou / total, "sq": iou / tp, "rq": tp / total}
        names = (self.metric_name,) if isinstance(self.metric_name, str) else self.metric_name
        return [qualities[name].float() for name in names]


# the short name, without "Metric"
PanopticQuality = PanopticQualityMetric
