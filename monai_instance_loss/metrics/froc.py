"""FROC of probability maps: sensitivity at given numbers of false positives per case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.metrics import compute_froc_score
from monai.metrics.utils import ignore_background
from monai.utils import MetricReduction

from monai_instance_loss.instances.spacing import checked_spacing
from monai_instance_loss.metrics.buffer import BufferedMetric
from monai_instance_loss.metrics.candidates import match_candidates
from monai_instance_loss.metrics.inputs import checked_probability, prepare_masks
from monai_instance_loss.metrics.reduction import check_reduction, reduce_scores
from monai_instance_loss.metrics.spacing import sample_spacing
from monai_instance_loss.metrics.strata import checked_edges, group_instances

__all__ = ["InstanceFROC", "froc_curve"]

# the kinds of rows in the buffer
_CASE, _TRUE, _FALSE = 0, 1, 2


class InstanceFROC(BufferedMetric):
    """Sensitivity to instances at given numbers of false positives per case, and their mean, in [0, 1]; 1 is best.

    Source: the score of LUNA16 (Setio et al. 2017, doi:10.1016/j.media.2017.06.015), the mean sensitivity at 1/8, 1/4,
    1/2, 1, 2, 4 and 8 false positives per scan; CAMELYON16 (Ehteshami Bejnordi et al. 2017,
    doi:10.1001/jama.2017.14585) takes 1/4 to 8.

    Convention: candidates are the connected components of ``y_pred >= threshold``, and a candidate's score is its
    largest probability. It finds all true instances that it shares a voxel with, and is a false positive when there is
    none. A true instance is found once, by the best of the candidates that touch it. At each cut through the scores
    all candidates from that score up count, whole as they are; components are not cut again, so that the curve is
    exact, and monotone. Between its points the curve is linear, it starts at (0, 0), and beyond its last point it stays
    level, as in both challenges. All cases are pooled.

    Called with ``y_pred``, probabilities (B, C, H, W) or (B, C, H, W, D) of any dtype, and ``y``, binary and of the
    same shape, or lists of such samples without B, it buffers and returns float32 (rows, 4), one row a case and
    channel, a true instance or a false positive: its kind (0, 1, 2), channel, bin of volume and score (0 where it is
    missed). A batch of 0 adds nothing; a channel or bin without true instances is NaN and left out of every reduction,
    and where nothing is left the result is NaN. Differentiable: nothing.

    Args:
        include_background: whether to score the first channel; a single channel is always scored.
        reduction: one of MONAI's or ``"pooled"``, over the channels, as all cases make one score a channel: ``"none"``
            gives (1, C), ``"mean_batch"`` (C,), and ``"pooled"`` is ``"mean"``.
        get_not_nans: whether ``aggregate`` returns ``(score, not_nans)``, where ``not_nans`` counts the scores that
            are not NaN.
        connectivity: largest number of orthogonal steps between neighbouring voxels of an instance, 1..number of
            spatial dimensions; ``None`` is full connectivity (8 or 26 neighbours).
        ignore_index: voxels where ``y`` has this value in any channel are taken out of both, in all channels.
        threshold: lowest probability of a candidate's voxels, in (0, 1]. A low one finds more, but runs neighbouring
            candidates into one.
        fp_per_case: the numbers of false positives per case.
        volume_edges_mm3: increasing edges between bins of instance volume in mm3, of area in mm2 for 2D images: bin k
            holds the true instances with volumes in [edge k - 1, edge k), and bins are the last dimension of results.
            All false positives count in each bin.
        spacing_mm: voxel size along each spatial axis in mm, which only bins need; None takes that of each sample from
            the affine of ``y`` or ``y_pred``, one of which then has to be a MetaTensor.

    Raises:
        TypeError: ``volume_edges_mm3`` or ``spacing_mm`` is no sequence; (on call) ``y`` is not a tensor.
        ValueError: ``reduction`` is unknown, ``threshold`` is not in (0, 1], rates, edges or spacing are not positive
            finite numbers or edges do not increase; (on call) shapes differ or are not 2D or 3D, values are not
            probabilities or not binary, no spacing is known where bins need one, or ``ignore_index`` is 0 or 1 for more
            than one channel.

    Example:
        >>> import torch
        >>> metric = InstanceFROC(fp_per_case=(1, 2))
        >>> y = torch.tensor([[[[1, 0, 0, 0, 1, 0, 0]]]])
        >>> y_pred = torch.tensor([[[[0.9, 0.0, 0.8, 0.0, 0.7, 0.0, 0.6]]]])
        >>> _ = metric(y_pred, y)
        >>> metric.aggregate(), metric.sensitivities()
        (tensor([1.]), tensor([[1., 1.]]))
        >>> metric.curve()
        (array([2., 1., 1., 0., 0.]), array([1. , 1. , 0.5, 0.5, 0. ]))
    """

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        connectivity: int | None = None,
        ignore_index: int | None = None,
        *,
        threshold: float = 0.1,
        fp_per_case: Sequence[float] = (0.125, 0.25, 0.5, 1, 2, 4, 8),
        volume_edges_mm3: Sequence[float] | None = None,
        spacing_mm: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if not 0 < threshold <= 1:
            raise ValueError(f"Expected `threshold` to be in (0, 1], but got {threshold}.")
        rates = tuple(map(float, fp_per_case))
        if not rates or not all(rate > 0 and math.isfinite(rate) for rate in rates):
            raise ValueError(f"Expected `fp_per_case` to be positive finite numbers, but got {fp_per_case}.")
        self.include_background = include_background
        self.reduction = check_reduction(reduction)
        self.get_not_nans = get_not_nans
        self.connectivity = connectivity
        self.ignore_index = ignore_index
        self.threshold = threshold
        self.fp_per_case = rates
        self.volume_edges_mm3 = checked_edges(volume_edges_mm3)
        self.spacing_mm = checked_spacing(spacing_mm)

    def aggregate(
        self, reduction: MetricReduction | str | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Mean of the sensitivities, from what was buffered since the last ``reset``.

        Args:
            reduction: overrides the reduction given at construction.

        Returns:
            The score, or ``(score, not_nans)`` with ``get_not_nans``.

        Raises:
            ValueError: the metric was not called before, or ``reduction`` is unknown.
        """
        reduction = self.reduction if reduction is None else reduction
        ((value, not_nans),) = reduce_scores(self.sensitivities()[None], lambda rates: [rates.mean(-1)], reduction)
        return (value, not_nans) if self.get_not_nans else value

    def sensitivities(self) -> torch.Tensor:
        """Sensitivity at each of ``fp_per_case``, float32 (C, rates), with bins of volume (C, bins, rates).

        Raises:
            ValueError: the metric was not called before.
        """
        rows = self._rows()
        curves = [_curve(rows, channel, part) for channel in range(_channels(rows)) for part in range(self._bins)]
        values = [[compute_froc_score(*curve, (rate,)) for rate in self.fp_per_case] for curve in curves]
        bins = () if self.volume_edges_mm3 is None else (self._bins,)
        scores = torch.tensor(values, dtype=torch.float32, device=rows.device)
        return scores.view(_channels(rows), *bins, len(self.fp_per_case))

    def curve(self, channel: int = 0, volume_bin: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """False positives per case and sensitivity at every cut through the scores, from the lowest to the highest.

        Args:
            channel: which of the channels that are scored.
            volume_bin: which bin of volume.

        Returns:
            Two float64 (cuts + 1,), both falling to 0, as MONAI's ``compute_froc_score`` takes them; the sensitivity is
            NaN without true instances.

        Raises:
            ValueError: the metric was not called before, or there is no such channel or bin.
        """
        rows = self._rows()
        for name, value, count in (("channel", channel, _channels(rows)), ("volume_bin", volume_bin, self._bins)):
            if value not in range(count):
                raise ValueError(f"Expected `{name}` to be one of {count}, from 0, but got {value}.")
        return _curve(rows, channel, volume_bin)

    @property
    def _bins(self) -> int:
        return 1 if self.volume_edges_mm3 is None else len(self.volume_edges_mm3) + 1

    def _rows_of_nothing(self) -> torch.Tensor:
        return torch.zeros(0, 4)

    def _compute_tensor(self, y_pred: torch.Tensor, y: Any = None) -> torch.Tensor:
        probability = checked_probability("y_pred", y_pred)
        pred, true = prepare_masks(probability >= self.threshold, y, self.include_background, self.ignore_index)
        if not self.include_background:
            probability = ignore_background(probability, probability)[0]
        found = match_candidates(probability, pred, true, self.connectivity)
        spacing = None
        if self.volume_edges_mm3 is not None:
            spacing = sample_spacing(self.spacing_mm, y_pred, y, needed_by="volume_edges_mm3")
        voxels = torch.bincount(found.true.labels.flatten(), minlength=found.true.count + 1)[1:]
        volume_bin = group_instances(found.true, voxels, self.volume_edges_mm3, spacing).index % self._bins
        cases = torch.arange(true.shape[1], device=true.device).repeat(true.shape[0])
        return torch.cat(
            [
                _as_rows(_CASE, cases),
                _as_rows(_TRUE, found.true.channel, volume_bin, found.score),
                _as_rows(_FALSE, found.false_channel, score=found.false_score),
            ]
        )


def froc_curve(true_scores: np.ndarray, false_scores: np.ndarray, cases: int) -> tuple[np.ndarray, np.ndarray]:
    """False positives per case, 0 or more, and sensitivity, in [0, 1], at every cut through the scores.

    Source: as MONAI's ``compute_froc_curve_data``, but not quadratic in the number of candidates, and with the lowest
    cut even when every true instance is found. Differentiable: nothing.

    Args:
        true_scores: (N,), the best score of each true instance, 0 where it is missed.
        false_scores: (M,), the score of each false positive, above 0.
        cases: how many cases there are, 1 or more.

    Returns:
        Two float64 (cuts + 1,), from the lowest cut to the highest and then (0, 0); the sensitivity is NaN where there
        is no true instance.

    Example:
        >>> import numpy as np
        >>> froc_curve(np.array([0.9, 0.0]), np.array([0.5]), 2)
        (array([0.5, 0. , 0. ]), array([0.5, 0.5, 0. ]))
    """
    cuts = np.unique(np.concatenate([true_scores[true_scores > 0], false_scores]))
    false, found = (
        np.append(scores.size - np.searchsorted(np.sort(scores), cuts), 0.0) for scores in (false_scores, true_scores)
    )
    return false / cases, found / true_scores.size if true_scores.size else np.full_like(found, np.nan)


def _as_rows(
    kind: int, channel: torch.Tensor, volume_bin: torch.Tensor | None = None, score: torch.Tensor | None = None
) -> torch.Tensor:
    nothing = torch.zeros_like(channel, dtype=torch.float32)
    columns = [nothing + kind, channel, *(nothing if column is None else column for column in (volume_bin, score))]
    return torch.stack([column.float() for column in columns], 1)


def _channels(rows: torch.Tensor) -> int:
    return int(rows[:, 1].max()) + 1 if rows.shape[0] else 0


def _curve(rows: torch.Tensor, channel: int, volume_bin: int) -> tuple[np.ndarray, np.ndarray]:
    kind, _, bins, scores = rows[rows[:, 1] == channel].cpu().numpy().astype(np.float64).T
    true_scores = scores[(kind == _TRUE) & (bins == volume_bin)]
    return froc_curve(true_scores, scores[kind == _FALSE], int((kind == _CASE).sum()))
