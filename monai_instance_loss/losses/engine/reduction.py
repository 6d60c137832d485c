"""From values per instance, or per sample and class, to one number: the only place that averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from monai.utils import LossReduction

__all__ = ["Averaging", "checked_reduction", "reduce_blocks"]


@dataclass(frozen=True)
class Averaging:
    """How a loss averages over instances, samples and classes.

    Attributes:
        instance_reduction: ``"mean"`` or ``"sum"`` over the instances of a sample, with ``average_over="sample"``.
        average_over: ``"instance"`` takes all instances of the batch at once, ``"sample"`` reduces each sample first.
        reduction: ``"mean"`` or ``"sum"`` over the batch: over its instances or its samples, as ``average_over`` says.
    """

    instance_reduction: Literal["mean", "sum"] = "mean"
    average_over: Literal["instance", "sample"] = "instance"
    reduction: str = "mean"

    def __post_init__(self) -> None:
        for name, value, options in (
            ("instance_reduction", self.instance_reduction, ("mean", "sum")),
            ("average_over", self.average_over, ("instance", "sample")),
            ("reduction", self.reduction, (LossReduction.MEAN, LossReduction.SUM)),
        ):
            if value not in options:
                allowed = " or ".join(f'"{option}"' for option in map(str, options))
                raise ValueError(f"Expected `{name}` to be {allowed}, but got {value!r}.")

    def instances(
        self, total: torch.Tensor, count: torch.Tensor, shape: tuple[int, int], present: torch.Tensor
    ) -> torch.Tensor:
        """One number from the sums (B * C,) of the values of instances, and how many there are in each."""
        if self.average_over == "instance":
            total, count = total.view(shape).sum(0), count.view(shape).sum(0)
            return self._classes(total if self.reduction == "sum" else total / count.clamp(min=1), present)
        return self.samples(total if self.instance_reduction == "sum" else total / count.clamp(min=1), shape, present)

    def samples(self, values: torch.Tensor, shape: tuple[int, int], present: torch.Tensor) -> torch.Tensor:
        """One number from values (B * C,), one for each sample and class."""
        per_sample = values.view(shape)
        return self._classes(per_sample.sum(0) if self.reduction == "sum" else per_sample.mean(0), present)

    def scored(self, values: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
        """One number from values (B * C,), of which only those that are ``scored`` count; 0 if none is."""
        total = torch.where(scored, values, 0).sum()
        return total if self.reduction == "sum" else total / scored.sum().clamp(min=1)

    def _classes(self, values: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        return torch.where(present, values, 0).sum() / present.sum()


def checked_reduction(reduction: str) -> str:
    """The name of one of torch's reductions."""
    options = [str(option) for option in LossReduction]
    if reduction not in options:
        raise ValueError(f"Expected `reduction` to be one of {options}, but got {reduction!r}.")
    return str(reduction)


def reduce_blocks(values: torch.Tensor, reduction: str, ndim: int) -> torch.Tensor:
    """Reduce values (B, C) as MONAI's losses do: to a scalar, or with ``"none"`` to (B, C, 1, ...) of ``ndim``."""
    if reduction == LossReduction.NONE:
        return values.view(*values.shape, *[1] * (ndim - 2))
    # the mean of no value would be NaN; a sum over nothing is 0 and keeps the graph
    return values.sum() if reduction == LossReduction.SUM or values.numel() == 0 else values.mean()
