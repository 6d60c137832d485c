"""Volumes with one lesion to look at and other lesions that are found, all of them compact and apart."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import torch

__all__ = ["SITUATIONS", "Layout", "Scene", "Situation"]

Situation = Literal["false", "missed", "half_found"]
SITUATIONS: tuple[Situation, ...] = get_args(Situation)
# two voxels that touch by a corner are sqrt(3) apart
_GAP = 2


@dataclass(frozen=True, eq=False)
class Scene:
    """Logits of a prediction, its target, and the component that is looked at.

    Source: made by ``Layout.scene``.

    Args:
        input: logits, float64 (1, 1, *spatial).
        target: 0 and 1, of the same type and shape.
        component: bool, of the same shape.
    """

    input: torch.Tensor
    target: torch.Tensor
    component: torch.Tensor


class Layout:
    """Where the component and the other lesions lie, in every scene the same, so that scenes differ in one thing alone.

    Source: ours. The component is as near to a ball (in 2D a disc) around the middle of the volume as its number of
    voxels allows. So are the other lesions, on a lattice, the first ones as far from all before them as there is room.

    Args:
        spatial_size: voxels along each of two or three axes.
        largest: voxels of the largest component.
        other_size_voxels: voxels of each other lesion.
        other_lesions: the largest number of other lesions.

    Raises:
        ValueError: there is no room for them.

    Example:
        >>> layout = Layout((16, 16), largest=20, other_size_voxels=4, other_lesions=3)
        >>> scene = layout.scene("missed", 20, 2, 0.01, 0.9)
        >>> int(scene.target.sum()), round(float(scene.input.sigmoid()[scene.component].max()), 3)
        (28, 0.01)
    """

    def __init__(self, spatial_size: tuple[int, ...], largest: int, other_size_voxels: int, other_lesions: int) -> None:
        self.spatial_size = spatial_size
        grid = torch.meshgrid(*(torch.arange(n) for n in spatial_size), indexing="ij")
        self._points = torch.stack([axis.flatten() for axis in grid], 1)
        middle = [n // 2 for n in spatial_size]
        self._component, reach = self._ball(middle, largest)
        self._others: list[torch.Tensor] = []
        wanted = f"one component of {largest} voxels and {other_lesions} of {other_size_voxels} voxels"
        refused = ValueError(f"Expected `spatial_size` to have room for {wanted}, but got {spatial_size}.")
        if reach > min((n - 1) // 2 for n in spatial_size):
            raise refused
        if other_lesions:
            for centre in self._centres(middle, reach, other_size_voxels, other_lesions):
                self._others.append(self._ball(centre, other_size_voxels)[0])
        if len(self._others) < other_lesions:
            raise refused

    def scene(
        self, situation: Situation, size_voxels: int, other_lesions: int, background: float, found: float
    ) -> Scene:
        """One situation; ``background`` and ``found`` are probabilities, the latter of what is predicted.

        Source: ours. A false component is predicted and not in the target, a missed lesion is in the target and looks
        like the background, of a half-found lesion the inner half of the voxels (rounded down) is predicted.
        """
        p = torch.full((len(self._points),), background, dtype=torch.float64)
        target, component = torch.zeros_like(p), torch.zeros_like(p, dtype=torch.bool)
        for other in self._others[:other_lesions]:
            p[other], target[other] = found, 1
        voxels = self._component[:size_voxels]
        component[voxels] = True
        p[voxels[: {"false": size_voxels, "missed": 0, "half_found": size_voxels // 2}[situation]]] = found
        target[voxels] = float(situation != "false")
        shape = (1, 1, *self.spatial_size)
        return Scene(torch.logit(p).view(shape), target.view(shape), component.view(shape))

    def _ball(self, centre: list[int], voxels: int) -> tuple[torch.Tensor, float]:
        """Positions of the voxels nearest to a centre, nearest first, and how far the last one is.

        Any number of them from the first on is connected: a step towards the centre leads to a nearer voxel.
        """
        squared = (self._points - torch.tensor(centre)).square().sum(1)
        nearest = squared.argsort(stable=True)[:voxels]
        enough = len(nearest) == voxels
        return nearest, math.sqrt(int(squared[nearest[-1]])) if enough else math.inf

    def _centres(self, middle: list[int], reach: float, voxels: int, wanted: int) -> list[list[int]]:
        """Centres of other lesions that leave a gap to each other and to the largest component."""
        _, radius = self._ball(middle, voxels)
        if math.isinf(radius):
            return []
        low, step = math.ceil(radius), math.ceil(2 * radius + _GAP)
        axes = [_spread(low, n - 1 - low, step) for n in self.spatial_size]
        free = torch.tensor(list(product(*axes)), dtype=torch.float64).reshape(-1, len(middle))
        distance = (free - torch.tensor(middle)).norm(dim=1)
        free = free[distance >= reach + radius + _GAP]
        distance = distance[distance >= reach + radius + _GAP]
        chosen = []
        for _ in range(min(wanted, len(free))):
            chosen.append(free[distance.argmax()])
            distance = torch.minimum(distance, (free - chosen[-1]).norm(dim=1))
        return [centre.long().tolist() for centre in chosen]


def _spread(low: int, high: int, step: int) -> list[int]:
    """As many whole numbers from ``low`` to ``high`` as keep ``step`` between them."""
    if high < low:
        return []
    gaps = (high - low) // step
    return [low + (high - low) * k // gaps for k in range(gaps + 1)] if gaps else [low]
