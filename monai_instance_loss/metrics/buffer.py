"""The base of metrics that buffer one tensor: batches of 0, lists of samples, and ranks without a sample."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from monai.metrics import CumulativeIterationMetric
from monai.utils import evenly_divisible_all_gather

__all__ = ["BufferedMetric"]


class BufferedMetric(CumulativeIterationMetric):
    """A metric that buffers the rows that ``_compute_tensor`` gives; a subclass turns them into a score.

    Source: ours, on MONAI's ``CumulativeIterationMetric``, which cannot buffer a batch of 0, drops samples where the
    lists of ``y_pred`` and ``y`` differ in length, and lets the other ranks wait where one has no sample.
    Differentiable: nothing.

    Raises:
        ValueError: (on call) ``y`` does not have as many samples as ``y_pred``.

    Example:
        >>> class Voxels(BufferedMetric):
        ...     def _rows_of_nothing(self):
        ...         return torch.zeros(0, 1)
        ...     def _compute_tensor(self, y_pred, y=None):
        ...         return y.flatten(1).sum(1, keepdim=True)
        ...     def aggregate(self):
        ...         return self._rows().sum()
        >>> metric = Voxels()
        >>> _ = metric(torch.ones(2, 1, 2, 2), torch.ones(2, 1, 2, 2))
        >>> _ = metric([], [])
        >>> metric.aggregate()
        tensor(8.)
    """

    @abstractmethod
    def _rows_of_nothing(self) -> torch.Tensor:
        """No row, of the dtype and the number of dimensions of every row."""

    def reset(self) -> None:
        """Forget what was buffered."""
        super().reset()
        self._empty_batch: torch.Tensor | None = None

    def extend(self, *data: Any) -> None:
        """Buffer the rows of a batch."""
        (rows,) = data
        if rows.shape[0]:
            super().extend(rows)
        else:
            # MONAI cannot split a batch of 0; kept aside, it still says how many channels there are
            self._empty_batch, self._synced = rows, False

    def _rows(self) -> torch.Tensor:
        """All rows of all ranks since the last ``reset``."""
        rows: torch.Tensor | None = self.get_buffer()
        if rows is None:
            raise ValueError(f"Expected {type(self).__name__} to be called before `aggregate`, but got no data.")
        return rows

    def _compute_list(self, y_pred: Any, y: Any = None, **kwargs: Any) -> torch.Tensor:
        # MONAI would pair as many as there are in the shorter list and drop the rest
        if y is not None and len(y) != len(y_pred):
            raise ValueError(f"Expected `y` to have as many samples as `y_pred`, {len(y_pred)}, but got {len(y)}.")
        return super()._compute_list(y_pred, y, **kwargs) if len(y_pred) else self._rows_of_nothing()

    def _sync(self) -> None:
        if self._synced:
            return
        called = self._buffers is not None or self._empty_batch is not None
        own = torch.stack(self._buffers[0]) if self._buffers is not None else self._empty_batch
        own = self._rows_of_nothing() if own is None else own
        # a rank that saw no sample, or was never called, must still take part in the gathering, or the others wait for
        # ever; it learns from them how many channels there are
        channels = int(evenly_divisible_all_gather(torch.tensor([own.shape[1] if called else -1]), concat=True).max())
        if channels >= 0:
            own = own if own.shape[0] else own.new_zeros(0, channels, *own.shape[2:])
            self._synced_tensors = [evenly_divisible_all_gather(own, concat=True)]
            self._synced = True
