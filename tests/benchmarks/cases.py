"""The volumes that the speed suite measures on."""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import torch
from volumes import lesions, logits, noise, specks

from monai_instance_loss import label_instances

# InstanceLoss's own default, which is what tells a predicted component
THRESHOLD = 0.1
NOISE_FOREGROUND = 0.3
NOISE = "noise 30 %"
BACKGROUND = "background"
COUNTS = (0, 10, 60, 600, 5000)
NAMES = (*(f"{count} lesions" for count in COUNTS), NOISE, BACKGROUND)
SHAPES = {"small": (2, 1, 64, 64, 64), "medium": (2, 1, 128, 128, 128), "large": (1, 1, 192, 224, 192)}
# to see that the suite runs from end to end; its numbers mean nothing
QUICK_SHAPES = {"small": (2, 1, 16, 16, 16), "medium": (2, 1, 32, 32, 32), "large": (1, 1, 32, 48, 32)}


class Case(NamedTuple):
    """One volume: how large, and what is in it."""

    size: str
    shape: tuple[int, ...]
    name: str
    seed: int


class Batch:
    """The tensors of a case, on a device."""

    def __init__(self, case: Case, device: torch.device) -> None:
        target, input = _tensors(case)
        self.case = case
        self.target = target.to(device)
        self.input = input.to(device).requires_grad_()

    @cached_property
    def instance_map(self) -> torch.Tensor:
        """The true instances, as a data pipeline would store them."""
        return label_instances(self.target).labels.to(self.target.dtype)

    @property
    def predicted(self) -> torch.Tensor:
        """Bool: where a loss sees a predicted component."""
        return self.input.detach().sigmoid() >= THRESHOLD

    def describe(self) -> dict[str, object]:
        """What the volume really holds: balls merge."""
        return {
            "size": self.case.size,
            "shape": list(self.case.shape),
            "case": self.case.name,
            "components": label_instances(self.target).count,
            "foreground": round(float(self.target.mean()), 5),
            "predicted_components": label_instances(self.predicted).count,
            "predicted_foreground": round(float(self.predicted.float().mean()), 5),
        }


def cases(size: str, names: tuple[str, ...], quick: bool, seed: int) -> list[Case]:
    """The named cases at one size."""
    return [Case(size, (QUICK_SHAPES if quick else SHAPES)[size], name, seed) for name in names]


def _tensors(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    shape, seed = case.shape, case.seed
    if case.name == BACKGROUND:
        target = torch.zeros(shape)
        return target, logits(target, seed)
    if case.name == NOISE:
        return _balls(shape, 60, seed), noise(shape, NOISE_FOREGROUND, THRESHOLD, seed)
    count = int(case.name.split()[0])
    if count >= 5000:
        target = specks(shape, count, seed)
        return target, logits(target, seed, false_count=count // 4, blurred=False)
    target = _balls(shape, count, seed)
    # without lesions, false components only
    return target, logits(target, seed, false_count=count // 4 if count else 10)


def _balls(shape: tuple[int, ...], count: int, seed: int) -> torch.Tensor:
    """Balls of the usual radii, or of the smaller ones where the usual would fill the volume."""
    return lesions(shape, count, seed, max_radius=5 if 2000 * count <= math.prod(shape) else 3)
