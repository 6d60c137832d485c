"""Probabilities of voxels, whatever the network's output is, and the named maps of them that losses sum."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from monai_instance_loss.losses.engine.reading import softplus

__all__ = [
    "MAPS",
    "LogitVoxels",
    "Map",
    "ProbabilityVoxels",
    "SoftmaxVoxels",
    "Voxels",
    "one",
    "one_minus_squared_error",
    "squared",
]

MAPS = ("p", "p_fixed", "ce_on", "ce_off")

# the smallest normal float32: its logarithm, -87, is as low as a probability's gets
_TINY = 1.1754944e-38
# saturates a sigmoid and any power of it, and stays finite
_CERTAIN = 1e4


class Voxels(ABC):
    """Probabilities of some voxels and their cross-entropies, each map computed when it is first asked for.

    Subclasses differ in what the network gives: probabilities, logits of a sigmoid, or logits of a softmax.
    """

    @property
    @abstractmethod
    def p(self) -> torch.Tensor:
        """Foreground probability, in [0, 1]."""

    @property
    @abstractmethod
    def ce_on(self) -> torch.Tensor:
        """Cross-entropy of a target voxel, -log p."""

    @property
    @abstractmethod
    def ce_off(self) -> torch.Tensor:
        """Cross-entropy of any other voxel, -log(1 - p)."""

    def at(self, position: torch.Tensor) -> Voxels:
        """The voxels (n,) at flat positions (n,) among these."""
        return _MappedVoxels(self, lambda values: values.reshape(-1).index_select(0, position))

    def zeroed(self, mask: torch.Tensor) -> Voxels:
        """The same voxels with a probability of 0 where the mask is True."""
        return _MappedVoxels(self, lambda values: values.masked_fill(mask, 0))

    def map(self, name: Map) -> torch.Tensor:
        """The map of that name, or the value of a map that is a function."""
        if callable(name):
            return name(self)
        if name not in MAPS:
            raise ValueError(f"Expected a map to be a function or one of {MAPS}, but got {name!r}.")
        values: torch.Tensor = getattr(self, name)
        return values

    def at_least(self, threshold: float) -> torch.Tensor:
        """Bool: where the probability is at least ``threshold``, and where it is NaN.

        Counting NaN in makes every instance loss see it: a NaN voxel is part of a predicted component.
        """
        return _not_below(self.p, threshold)

    @cached_property
    def p_fixed(self) -> torch.Tensor:
        """The probability times itself held fixed: its sums are the numerator of presence."""
        return self.p * self.p.detach()


# what a criterion sums: one of the maps in MAPS by its name, or a function of voxels of its own
Map = str | Callable[[Voxels], torch.Tensor]


def squared(voxels: Voxels) -> torch.Tensor:
    """p^2, a map: the squared error off the target."""
    return voxels.p.square()


def one_minus_squared_error(voxels: Voxels) -> torch.Tensor:
    """p (2 - p), a map: one minus the squared error on the target, and 0 at p = 0."""
    return voxels.p * (2 - voxels.p)


def one(voxels: Voxels) -> torch.Tensor:
    """1, a map: its sum counts voxels."""
    return torch.ones_like(voxels.p)


class ProbabilityVoxels(Voxels):
    """Voxels of which the probability is known."""

    def __init__(self, p: torch.Tensor) -> None:
        self._p = p

    @property
    def p(self) -> torch.Tensor:
        """Foreground probability."""
        return self._p

    @cached_property
    def ce_on(self) -> torch.Tensor:
        """-log p."""
        return -self.p.clamp(min=_TINY).log()

    @cached_property
    def ce_off(self) -> torch.Tensor:
        """-log(1 - p)."""
        return -(1 - self.p).clamp(min=_TINY).log()

    def at(self, position: torch.Tensor) -> Voxels:
        """The voxels at flat positions."""
        return ProbabilityVoxels(self.p.reshape(-1).index_select(0, position))

    def zeroed(self, mask: torch.Tensor) -> Voxels:
        """The same, 0 where the mask is True."""
        return ProbabilityVoxels(self.p.masked_fill(mask, 0))


class LogitVoxels(Voxels):
    """Voxels of which the logit of the foreground is known."""

    def __init__(self, logit: torch.Tensor) -> None:
        self.logit = logit

    @cached_property
    def p(self) -> torch.Tensor:
        """Foreground probability."""
        return torch.sigmoid(self.logit)

    @cached_property
    def ce_on(self) -> torch.Tensor:
        """-log p."""
        return softplus(-self.logit)

    @cached_property
    def ce_off(self) -> torch.Tensor:
        """-log(1 - p)."""
        return softplus(self.logit)

    def at(self, position: torch.Tensor) -> Voxels:
        """The voxels at flat positions."""
        return LogitVoxels(self.logit.reshape(-1).index_select(0, position))

    def zeroed(self, mask: torch.Tensor) -> Voxels:
        """The same, with a logit that leaves nothing of the probability where the mask is True."""
        return LogitVoxels(self.logit.masked_fill(mask, -_CERTAIN))

    def at_least(self, threshold: float) -> torch.Tensor:
        """Bool: where the logit is at least that of ``threshold``, and where it is NaN."""
        return _not_below(self.logit, float(np.log(threshold / (1 - threshold))))


class SoftmaxVoxels(Voxels):
    """Voxels (B * C, *spatial) of three or more exclusive classes, each against the rest.

    The softmax is computed once for all classes. A probability of up to 1/2 has all its digits, and so has one minus
    it; above 1/2, where one class of a voxel can be, one minus it is summed up from the other classes.
    """

    def __init__(self, logits: torch.Tensor, first: int = 0) -> None:
        """Take logits (B, C0, *spatial), of which the classes from ``first`` on are looked at."""
        self.logits = logits
        self.first = first

    @cached_property
    def p(self) -> torch.Tensor:
        """Foreground probability."""
        return self._blocks(torch.softmax(self.logits, 1))

    @cached_property
    def ce_on(self) -> torch.Tensor:
        """-log p."""
        return self._blocks(-F.log_softmax(self.logits, 1))

    @cached_property
    def ce_off(self) -> torch.Tensor:
        """-log(1 - p)."""
        rows = (*self.logits.shape[:1], -1, *self.logits.shape[2:])
        return _one_minus(self.p.view(rows), self.total - self.rest).flatten(0, 1)

    def at(self, position: torch.Tensor) -> Voxels:
        """The voxels at flat positions."""
        return _PickedSoftmax(self, position)

    @cached_property
    def total(self) -> torch.Tensor:
        """Logarithm (B, 1, *spatial) of the sum of all classes' exponentials."""
        return self.logits.logsumexp(1, keepdim=True)

    @cached_property
    def rest(self) -> torch.Tensor:
        """The same without the class that has more than half of the probability, where there is one."""
        ruling = torch.softmax(self.logits.detach(), 1) > 0.5
        return self.logits.masked_fill(ruling, -torch.inf).logsumexp(1, keepdim=True)

    def _blocks(self, classes: torch.Tensor) -> torch.Tensor:
        return classes[:, self.first :].flatten(0, 1)


class _PickedSoftmax(Voxels):
    """Some voxels of a softmax."""

    def __init__(self, every: SoftmaxVoxels, position: torch.Tensor) -> None:
        self._every = every
        self._position = position

    @cached_property
    def p(self) -> torch.Tensor:
        return self._every.p.reshape(-1).index_select(0, self._position)

    @cached_property
    def ce_on(self) -> torch.Tensor:
        logits, first = self._every.logits, self._every.first
        size, count = logits.shape[2:].numel(), logits.shape[1]
        # the blocks that are looked at lie between those of the first classes of each sample
        block = torch.div(self._position, size, rounding_mode="floor")
        skipped = (torch.div(block, count - first, rounding_mode="floor") + 1) * first
        own = logits.reshape(-1).index_select(0, self._position + skipped * size)
        return self._of_voxel(self._every.total) - own

    @cached_property
    def ce_off(self) -> torch.Tensor:
        return _one_minus(self.p, self._of_voxel(self._every.total - self._every.rest))

    def _of_voxel(self, values: torch.Tensor) -> torch.Tensor:
        logits, first = self._every.logits, self._every.first
        size, count = logits.shape[2:].numel(), logits.shape[1] - first
        sample = torch.div(self._position, size * count, rounding_mode="floor")
        return values.reshape(-1).index_select(0, sample * size + self._position % size)


class _MappedVoxels(Voxels):
    """Voxels made of others: some of them, or all with some at 0."""

    def __init__(self, source: Voxels, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        self._source = source
        self._change = change

    @cached_property
    def p(self) -> torch.Tensor:
        return self._change(self._source.p)

    @cached_property
    def ce_on(self) -> torch.Tensor:
        return self._change(self._source.ce_on)

    @cached_property
    def ce_off(self) -> torch.Tensor:
        return self._change(self._source.ce_off)


def _one_minus(p: torch.Tensor, of_ruling: torch.Tensor) -> torch.Tensor:
    """-log(1 - p), above 1/2 as it comes from the other classes."""
    # the gradient of the side that is not taken would be infinite at p = 1
    return torch.where(p > 0.5, of_ruling, -torch.log1p(-p.clamp(max=0.5)))


def _not_below(values: torch.Tensor, bound: float) -> torch.Tensor:
    values = values.detach()
    if values.device.type == "cpu":
        # numpy compares in half of torch's time
        below: Any = np.less(values.resolve_neg().numpy(), bound)
        return torch.from_numpy(np.asarray(below)).logical_not_()
    return (values < bound).logical_not_()
