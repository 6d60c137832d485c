"""Foreground probabilities, computed only where a loss asks for them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

__all__ = ["Probability"]


@dataclass(frozen=True, eq=False)
class Probability:
    """Foreground probabilities of (B, C, *spatial) voxels, in float32 (float64 for float64 values).

    Lesions cover a per cent of a volume: activating only the voxels that a loss looks at saves most of its passes.

    Attributes:
        values: (B, C, *spatial), logits of a sigmoid or probabilities.
        logits: whether ``values`` are logits.
    """

    values: torch.Tensor
    logits: bool

    def without_background(self) -> Probability:
        """The same without channel 0."""
        return Probability(self.values[:, 1:], self.logits)

    def at_least(self, threshold: float) -> torch.Tensor:
        """Bool (B, C, *spatial): where the probability is at least ``threshold``, and where it is NaN.

        Counting NaN in makes every instance loss see it: a NaN voxel is part of a predicted component.
        """
        bound = math.log(threshold / (1 - threshold)) if self.logits else threshold
        return (self.values.detach() < bound).logical_not_()

    def at(self, position: torch.Tensor) -> torch.Tensor:
        """Probabilities (V,) at flat positions (V,) in (B, C, *spatial). Differentiable."""
        return self._activate(self.values.reshape(-1).index_select(0, position))

    def blocks(self, index: torch.Tensor) -> torch.Tensor:
        """Probabilities (n, *spatial) of whole (sample, channel) blocks (n,), in ascending order. Differentiable."""
        rows = self.values.flatten(0, 1)
        # the index of every row in order needs no copy
        return self._activate(rows if index.numel() == rows.shape[0] else rows.index_select(0, index))

    def zero(self) -> torch.Tensor:
        """A zero that carries the graph, whatever the values hold."""
        return self._activate(self.values.flatten()[:0]).sum()

    def _activate(self, values: torch.Tensor) -> torch.Tensor:
        if values.dtype in (torch.float16, torch.bfloat16):
            values = values.float()
        return torch.sigmoid(values) if self.logits else values
