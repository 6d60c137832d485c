"""Foreground probabilities, computed only where a loss asks for them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

from monai_instance_loss.losses.engine.reading import softplus

__all__ = ["Probability", "Voxels"]

# the smallest normal float32: its logarithm, -87, is as low as a probability's gets
_TINY = 1.1754944e-38
# saturates a sigmoid and any power of it, and stays finite
_CERTAIN = 1e4


class Voxels:
    """Probabilities of some voxels and their cross-entropies, which come from the logits where there are any.

    Attributes:
        logit: what they come from, or None.
        p: foreground probability, in [0, 1].
        ce_on: cross-entropy of a target voxel, -log p.
        ce_off: cross-entropy of any other voxel, -log(1 - p).
    """

    def __init__(self, *, p: torch.Tensor | None = None, logit: torch.Tensor | None = None) -> None:
        if (p is None) == (logit is None):
            raise ValueError("Expected either `p` or `logit`, but got both or neither.")
        self.logit = logit
        if p is not None:
            self.p = p

    @cached_property
    def p(self) -> torch.Tensor:
        """Foreground probability."""
        return torch.sigmoid(self.known_logit)

    @cached_property
    def ce_on(self) -> torch.Tensor:
        """-log p."""
        return -self.p.clamp(min=_TINY).log() if self.logit is None else softplus(-self.logit)

    @cached_property
    def ce_off(self) -> torch.Tensor:
        """-log(1 - p)."""
        return -(1 - self.p).clamp(min=_TINY).log() if self.logit is None else softplus(self.logit)

    def zeroed(self, mask: torch.Tensor) -> Voxels:
        """The same voxels with a probability of 0 where the mask is True."""
        if self.logit is None:
            return Voxels(p=self.p.masked_fill(mask, 0))
        return Voxels(logit=self.logit.masked_fill(mask, -_CERTAIN))

    def select(self, index: torch.Tensor) -> Voxels:
        """Of voxels (V,), those at an index (n,)."""
        if self.logit is None:
            return Voxels(p=self.p.index_select(0, index))
        return Voxels(logit=self.logit.index_select(0, index))

    def without(self, position: torch.Tensor) -> Voxels:
        """All voxels, with a probability of 0 at flat positions (V,)."""
        if self.logit is None:
            return Voxels(p=self.p.reshape(-1).index_fill(0, position, 0).view_as(self.p))
        return _Rest(self.logit, position)

    @property
    def known_logit(self) -> torch.Tensor:
        """The logits, where there are any."""
        if self.logit is None:
            raise ValueError("Expected logits, but got probabilities only.")
        return self.logit


class _Rest(Voxels):
    """Voxels (from their logits) with a probability of 0 at some positions.

    Most of a volume, and so most of a loss's time: nothing is masked before it is activated.
    """

    def __init__(self, logit: torch.Tensor, position: torch.Tensor) -> None:
        super().__init__(p=_SigmoidOff.apply(logit, position))
        self._source = logit
        self._position = position

    @cached_property
    def ce_on(self) -> torch.Tensor:
        """-log p."""
        masked = self._source.reshape(-1).index_fill(0, self._position, -_CERTAIN)
        return softplus(-masked).view_as(self._source)

    @cached_property
    def ce_off(self) -> torch.Tensor:
        """-log(1 - p)."""
        ce: torch.Tensor = _CrossEntropyOff.apply(self._source, self._position, self.p.detach())
        return ce


class _SigmoidOff(torch.autograd.Function):
    """p from logits, 0 at some positions."""

    @staticmethod
    def forward(ctx: Any, logit: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        p = torch.sigmoid(logit).contiguous()
        p.view(-1).index_fill_(0, position, 0)
        ctx.save_for_backward(p)
        return p

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        (p,) = ctx.saved_tensors
        return torch.ops.aten.sigmoid_backward(grads[0], p), None


class _CrossEntropyOff(torch.autograd.Function):
    """-log(1 - p) from logits, 0 at some positions, where p is 0; its derivative is p."""

    @staticmethod
    def forward(ctx: Any, logit: torch.Tensor, position: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(p)
        ce = softplus(logit).contiguous()
        ce.view(-1).index_fill_(0, position, 0)
        return ce

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (p,) = ctx.saved_tensors
        return grads[0] * p, None, None


@dataclass(frozen=True, eq=False)
class Probability:
    """Foreground probabilities of (B, C, *spatial) voxels, in float32 (float64 for float64 values).

    Lesions cover a per cent of a volume: activating only the voxels that a loss looks at saves most of its passes.

    Attributes:
        values: (B, C0, *spatial), probabilities, or logits of a sigmoid or a softmax; every channel of the input.
        kind: what ``values`` are.
        first: the first channel that counts, 1 without background; C = C0 - first.
    """

    values: torch.Tensor
    kind: Literal["sigmoid", "softmax", "probability"]
    first: int = 0

    @property
    def channels(self) -> int:
        """Number of channels C."""
        return self.values.shape[1] - self.first

    def at_least(self, threshold: float) -> torch.Tensor:
        """Bool (B, C, *spatial): where the probability is at least ``threshold``, and where it is NaN.

        Counting NaN in makes every instance loss see it: a NaN voxel is part of a predicted component.
        """
        # compared in half precision, the threshold itself would be rounded
        values, bound = _widened(self.values.detach()), threshold
        if self.kind == "sigmoid":
            bound = math.log(threshold / (1 - threshold))
        elif self.kind == "softmax":
            values = torch.softmax(values, 1)
        values = values[:, self.first :]
        if values.device.type == "cpu":
            # numpy compares in half of torch's time
            return torch.from_numpy(np.less(values.resolve_neg().numpy(), bound)).logical_not_()
        return (values < bound).logical_not_()

    def at(self, position: torch.Tensor) -> Voxels:
        """Voxels (V,) at flat positions (V,) in (B, C, *spatial). Differentiable."""
        size = self.values.shape[2:].numel()
        voxel = position % size
        block = torch.div(position, size, rounding_mode="floor")
        sample = torch.div(block, self.channels, rounding_mode="floor")
        channel = block % self.channels + self.first
        count = self.values.shape[1]
        flat = self.values.reshape(-1)
        if self.kind != "softmax":
            # without a background channel to skip, positions are what they were
            where = position if self.first == 0 else (sample * count + channel) * size + voxel
            return self._voxels(_widened(flat.index_select(0, where)))
        base = sample * count * size + voxel
        if count == 2:
            # the other class is all the rest, also where its logit is infinite
            own, rest = (flat.index_select(0, base + index * size) for index in (channel, 1 - channel))
            return self._voxels(_widened(own) - _widened(rest))
        classes = [_widened(flat.index_select(0, base + index * size)) for index in range(count)]
        return self._voxels(_one_vs_rest(torch.stack(classes, 1), channel))

    def blocks(self, index: torch.Tensor) -> Voxels:
        """Voxels (n, *spatial) of whole (sample, channel) blocks (n,), in ascending order. Differentiable."""
        sample, channel = torch.div(index, self.channels, rounding_mode="floor"), index % self.channels + self.first
        if self.kind == "softmax" and self.values.shape[1] == 2:
            # the other class is all the rest
            logits = _widened(self.values[sample, channel]) - _widened(self.values[sample, 1 - channel])
            return self._voxels(logits)
        if self.kind == "softmax":
            logits = _widened(self.values[sample])
            by_class = logits.flatten(2).transpose(1, 2)
            of_voxel = channel[:, None].expand(by_class.shape[:2])
            return self._voxels(
                _one_vs_rest(by_class.reshape(-1, logits.shape[1]), of_voxel.reshape(-1)).view(-1, *logits.shape[2:])
            )
        if index.numel() == self.values.shape[0] * self.values.shape[1]:
            # every block in order needs no copy
            return self._voxels(_widened(self.values.flatten(0, 1)))
        return self._voxels(_widened(self.values[sample, channel]))

    def zero(self) -> torch.Tensor:
        """A zero that carries the graph, whatever the values hold."""
        return _widened(self.values.flatten()[:0]).sum()

    def _voxels(self, values: torch.Tensor) -> Voxels:
        return Voxels(p=values) if self.kind == "probability" else Voxels(logit=values)


def _one_vs_rest(logits: torch.Tensor, channel: torch.Tensor) -> torch.Tensor:
    """Logits (n,) of one class of each of n voxels against all others, from softmax logits (n, C) and classes (n,)."""
    own = F.one_hot(channel, logits.shape[1]).bool()
    rest = logits.masked_fill(own, -torch.inf).logsumexp(1)
    return logits.gather(1, channel[:, None]).squeeze(1) - rest


def _widened(values: torch.Tensor) -> torch.Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
