"""The base of the metrics on numbers of instances: buffer raw counts, divide only when aggregating."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric
from monai.utils import MetricReduction, evenly_divisible_all_gather

from monai_instance_loss.metrics.inputs import prepare_masks
from monai_instance_loss.metrics.matching import InstanceCounts, match_by_touch
from monai_instance_loss.metrics.reduction import check_reduction, reduce_counts

__all__ = ["InstanceCountMetric"]


class InstanceCountMetric(CumulativeIterationMetric):
    """A score of detected, missed, matched and false instances; a subclass says which in ``score``.

    Source: ours; the counts are those of the WMH Segmentation Challenge, see ``match_by_touch``.

    Called with ``y_pred`` and ``y``, binarised (B, C, H, W) or (B, C, H, W, D) of any dtype, or lists of such samples
    without B, it buffers and returns int64 counts (B, C, 4) in the order of ``InstanceCounts``. ``aggregate`` turns
    the counts of all calls on all ranks into the score. A batch of 0 adds nothing; NaN scores are left out of every
    reduction, and where nothing is left the result is NaN. Differentiable: nothing.

    Args:
        include_background: whether to score the first channel; a single channel is always scored.
        reduction: MONAI's ``"none"``, ``"mean"``, ``"sum"``, ``"mean_batch"``, ``"sum_batch"``, ``"mean_channel"``
            and ``"sum_channel"`` reduce the scores of each sample and channel. ``"pooled"`` adds up the counts of all
            samples first, scores each channel, and averages over the channels that have something to score.
        get_not_nans: whether ``aggregate`` returns ``(score, not_nans)``, where ``not_nans`` counts, as in MONAI, the
            scores that are not NaN; with ``"pooled"``, the channels.
        connectivity: largest number of orthogonal steps between neighbouring voxels of an instance, 1..number of
            spatial dimensions; ``None`` is full connectivity (8 or 26 neighbours).
        ignore_index: voxels where ``y`` has this value in any channel are taken out of both masks, in all channels.

    Raises:
        TypeError: (on call) ``y_pred`` or ``y`` is not a tensor.
        ValueError: ``reduction`` is unknown; (on call) shapes differ or are not 2D or 3D, values are not binary, or
            ``ignore_index`` is 0 or 1 for more than one channel.

    Example:
        >>> import torch
        >>> class Detected(InstanceCountMetric):
        ...     def score(self, counts):
        ...         return counts.detected.float()
        >>> metric = Detected(reduction="sum")
        >>> metric(torch.ones(1, 1, 2, 2), torch.eye(2)[None, None])
        tensor([[[1, 0, 1, 0]]])
        >>> metric.aggregate()
        tensor(1.)
    """

    def __init__(
        self,
        include_background: bool = True,
        reduction: MetricReduction | str = MetricReduction.MEAN,
        get_not_nans: bool = False,
        connectivity: int | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__()
        self.include_background = include_background
        self.reduction = check_reduction(reduction)
        self.get_not_nans = get_not_nans
        self.connectivity = connectivity
        self.ignore_index = ignore_index

    @abstractmethod
    def score(self, counts: InstanceCounts) -> torch.Tensor:
        """Turn counts, all of one shape, into float scores of that shape, NaN where there is nothing to score."""

    def aggregate(
        self, reduction: MetricReduction | str | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Score what was buffered since the last ``reset``.

        Args:
            reduction: overrides the reduction given at construction.

        Returns:
            The score, or ``(score, not_nans)`` with ``get_not_nans``.

        Raises:
            ValueError: the metric was not called before, or ``reduction`` is unknown.
        """
        counts = self.get_buffer()
        if counts is None:
            raise ValueError(f"Expected {type(self).__name__} to be called before `aggregate`, but got no data.")
        value, not_nans = reduce_counts(counts, self.score, self.reduction if reduction is None else reduction)
        return (value, not_nans) if self.get_not_nans else value

    def reset(self) -> None:
        """Forget what was buffered."""
        super().reset()
        self._empty_batch: torch.Tensor | None = None

    def extend(self, *data: Any) -> None:
        """Buffer the counts (B, C, 4) of a batch."""
        (counts,) = data
        if counts.shape[0]:
            super().extend(counts)
        else:
            # MONAI cannot split a batch of 0; kept aside, it still says how many channels there are
            self._empty_batch, self._synced = counts, False

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor | None = None, **kwargs: Any) -> torch.Tensor:
        y_pred, y = prepare_masks(y_pred, y, self.include_background, self.ignore_index)
        return torch.stack(match_by_touch(y_pred, y, self.connectivity), -1)

    def _compute_list(self, y_pred: Any, y: Any = None, **kwargs: Any) -> torch.Tensor:
        # MONAI would pair as many as there are in the shorter list and drop the rest
        if y is not None and len(y) != len(y_pred):
            raise ValueError(f"Expected `y` to have as many samples as `y_pred`, {len(y_pred)}, but got {len(y)}.")
        if len(y_pred) == 0:
            return torch.zeros(0, 0, len(InstanceCounts._fields), dtype=torch.int64)
        return super()._compute_list(y_pred, y, **kwargs)

    def _sync(self) -> None:
        if self._buffers is not None or self._empty_batch is None:
            super()._sync()
        elif not self._synced:
            # a rank that saw no sample must still take part in the gathering, or the others wait for ever
            self._synced_tensors = [evenly_divisible_all_gather(self._empty_batch, concat=True)]
            self._synced = True
