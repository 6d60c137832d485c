"""DeepSupervisionLoss: MONAI's, with voxel sizes that follow the resolution of each level."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from monai.losses import DeepSupervisionLoss as _DeepSupervisionLoss

__all__ = ["DeepSupervisionLoss"]


class DeepSupervisionLoss(_DeepSupervisionLoss):
    r"""A loss on every level of a deeply supervised network, 0 or more: MONAI's weighted sum over the levels.

    $$L = \sum_k w_k L_k(x_k, y_k)$$

    x_k is the output of level k, y_k the target at its size, and L_k the loss with the voxel size there.

    Source: MONAI's ``DeepSupervisionLoss``, which gives the loss a smaller target at a smaller level and leaves its
    ``spacing_mm`` as it is. That is right where all axes shrink alike and distances only matter relative to each other;
    a network that halves the rows and columns of thick slices only changes the shape of a voxel. Here a level of 1/2
    the size has voxels of twice the size, for the loss and for every loss inside it.

    Shapes: input is a list of (B, C, *spatial), the full resolution first; or one tensor (B, levels, C, *spatial), as
    ``DynUNet`` stacks them; or one level (B, C, *spatial), as networks give when they are not training. Any float type,
    computed in float32. Target as for the loss. Differentiable in ``input``.

    Args:
        loss: the loss of a level.
        weight_mode: weights of the levels: ``"exp"``, 1, 1/2, 1/4, ... down to 1/16; ``"same"``, all 1; ``"two"``, 1
            and then 1/2.
        weights: one weight a level, instead of ``weight_mode``.

    Attributes:
        last_terms: of a loss that has them, the terms of the last call by name, detached, summed over the levels with
            their weights; None before the first call.

    Raises:
        ValueError: ``input`` is None; what the loss raises.
        AttributeError: on ``terms``, where the loss has none.

    Example:
        >>> from monai_instance_loss.losses import CCLoss
        >>> target = torch.zeros(1, 1, 8, 16)
        >>> target[0, 0, 2:4, 2:4] = target[0, 0, 5:7, 9:13] = 1
        >>> levels = [torch.zeros(1, 1, 8, 16), torch.zeros(1, 1, 8, 8)]
        >>> loss = DeepSupervisionLoss(CCLoss(sigmoid=True, spacing_mm=(3, 1)))
        >>> loss.at_size(levels[1].shape[2:], target.shape[2:]).spacing_mm
        (3.0, 2.0)
        >>> bool(loss(levels, target) > 0)
        True
    """

    last_terms: dict[str, torch.Tensor] | None

    def __init__(self, loss: torch.nn.Module, weight_mode: str = "exp", weights: Sequence[float] | None = None) -> None:
        super().__init__(loss, weight_mode, None if weights is None else list(weights))
        self.last_terms = None

    def forward(self, input: torch.Tensor | Sequence[torch.Tensor] | None, target: torch.Tensor) -> torch.Tensor:
        """The weighted sum over the levels."""
        values: list[torch.Tensor] = []
        terms: dict[str, torch.Tensor] = {}
        for weight, level in self._levels(input, target):
            loss, part = self._fitted(level, target)
            values.append(weight * loss(level, part))
            for name, term in (getattr(loss, "last_terms", None) or {}).items():
                terms[name] = weight * term + terms.get(name, 0)
        self.last_terms = terms or None
        return torch.stack(values).sum()

    def terms(self, input: torch.Tensor | Sequence[torch.Tensor], target: torch.Tensor) -> Any:
        """All terms of the loss, summed over the levels with their weights: its NamedTuple, scalars with graph."""
        found = []
        for weight, level in self._levels(input, target):
            loss, part = self._fitted(level, target)
            found.append([weight * value for value in loss.terms(level, part)])
        terms_type: Any = self.loss.terms_type
        return terms_type(*map(sum, zip(*found, strict=True)))

    def get_loss(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The loss of one level."""
        loss, part = self._fitted(input, target)
        value: torch.Tensor = loss(input, part)
        return value

    def at_size(self, size: Sequence[int], full_size: Sequence[int]) -> torch.nn.Module:
        """The loss for a level of ``size`` of a volume of ``full_size`` voxels; it shares its parameters."""
        loss: torch.nn.Module = self.loss
        if tuple(size) == tuple(full_size):
            return loss
        return _rescaled(loss, [full / part for part, full in zip(size, full_size, strict=True)])

    def _levels(
        self, input: torch.Tensor | Sequence[torch.Tensor] | None, target: torch.Tensor
    ) -> list[tuple[float, torch.Tensor]]:
        """The levels with their weights, in float32; a tensor that is no stack of levels weighs 1."""
        if input is None:
            raise ValueError("Expected `input` to be a tensor or a list of them, but got None.")
        if isinstance(input, torch.Tensor) and input.ndim == target.ndim:
            return [(1.0, input.float())]
        levels = list(input.unbind(1) if isinstance(input, torch.Tensor) else input)
        return [(weight, level.float()) for weight, level in zip(self.get_weights(len(levels)), levels, strict=True)]

    def _fitted(self, level: torch.Tensor, target: torch.Tensor) -> tuple[Any, torch.Tensor]:
        """The loss and the target for a level."""
        size, full_size = level.shape[2:], target.shape[2:]
        if size != full_size:
            target = F.interpolate(target, size=size, mode=self.interp_mode)
        return self.at_size(size, full_size), target


def _rescaled(loss: torch.nn.Module, factors: Sequence[float]) -> torch.nn.Module:
    """A shallow copy with every ``spacing_mm`` times the factors; a forward must not change the loss itself."""
    if not any(getattr(part, "spacing_mm", None) for part in loss.modules()):
        return loss
    rescaled = copy.copy(loss)
    rescaled._modules = {
        name: part if part is None else _rescaled(part, factors) for name, part in loss._modules.items()
    }
    spacing = getattr(loss, "spacing_mm", None)
    if spacing:
        vars(rescaled)["spacing_mm"] = tuple(step * factor for step, factor in zip(spacing, factors, strict=True))
    return rescaled
