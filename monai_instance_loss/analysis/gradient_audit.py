"""How much gradient a lesion receives from a loss, by its size, the other lesions and the background."""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Literal, NamedTuple

import torch
from monai.utils import ensure_tuple

from monai_instance_loss._checks import checked_count, checked_fraction
from monai_instance_loss.analysis.scenes import SITUATIONS, Layout, Scene, Situation

__all__ = ["Direction", "GradientRow", "gradient_audit"]

Direction = Literal["helps", "mixed", "against", "none", "undefined"]
# shares that are rounding: of the whole gradient, and of that on the component
_ROUNDING, _FEW = 1e-12, 1e-6


class GradientRow(NamedTuple):
    """The gradient on the logits of one component in one situation; see ``gradient_audit``."""

    situation: Situation
    size_voxels: int
    other_lesions: int
    background_probability: float
    gradient_l1: float
    direction: Direction
    helping_share: float
    share_of_total: float


def gradient_audit(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    *,
    size_voxels: Sequence[int] | int = (1, 3, 10, 30, 100, 300, 1300),
    other_lesions: Sequence[int] | int = (0, 2, 20),
    background_probability: Sequence[float] | float = (0.0001, 0.01, 0.2),
    found_probability: float = 0.9,
    other_size_voxels: int = 27,
    spatial_size: Sequence[int] = (32, 32, 32),
) -> list[GradientRow]:
    """The gradient, an L1 norm of 0 or more, that a loss sends to one lesion in each of many made-up situations.

    Source: ours; the size bias that blob loss (Kofler et al., IPMI 2023, arXiv 2205.08209) and CC loss (Bouteille et
    al., ISBI 2026, arXiv 2511.17146) argue about, as a number.

    In the middle of a volume lies one component, a ball of ``size_voxels`` voxels. It is a ``"false"`` one (predicted,
    not in the target), a ``"missed"`` lesion (in the target, as probable as the background) or a ``"half_found"`` one
    (the inner half of its voxels is predicted). Around it are ``other_lesions`` lesions that are found. What is
    predicted has ``found_probability``, all else ``background_probability``.

    Convention: the gradient is that on the **logits**, which is what a network receives: where p is near 0 or 1 a
    sigmoid passes little on. On a component of one probability p, ``gradient_l1 / (p * (1 - p))`` is the norm on the
    probabilities. The loss is differentiated as it is; it gets one sample of one channel, float64, on the CPU.

    Args:
        loss: any callable on (input, target) with logits as input that returns one number: a loss of this package or
            of MONAI with ``sigmoid=True``, ``torch.nn.BCEWithLogitsLoss``, or a function.
        size_voxels: sizes of the component, in voxels, 1 or more; a lesion of 1 voxel cannot be half found and has no
            such row.
        other_lesions: numbers of other lesions, 0 or more.
        background_probability: probabilities of the background, in (0, 1).
        found_probability: the probability of what is predicted, in (0, 1), above that of the background.
        other_size_voxels: size of each other lesion, in voxels.
        spatial_size: voxels along each axis of the volume, 2D or 3D.

    Returns:
        A row for each situation, size, number of other lesions and background, in this order:

        - ``gradient_l1``: the sum of the absolute gradient over the component's voxels.
        - ``direction``: ``"helps"`` where a step of gradient descent lowers a false component and raises a lesion,
          ``"against"`` where it does the contrary, ``"mixed"`` where voxels differ, ``"none"`` without a gradient (of a
          loss without a graph too, and below 1e-12 of the whole gradient, which is rounding), ``"undefined"`` with NaN
          or infinity in it.
        - ``helping_share``: the share of ``gradient_l1`` on voxels where it helps, in [0, 1]; NaN without a gradient.
        - ``share_of_total``: ``gradient_l1`` over the L1 norm of the whole gradient, in [0, 1]; NaN without one.

    Raises:
        TypeError: ``loss`` is not callable, a size or number is no integer, a probability no number.
        ValueError: nothing to go over, a value out of range, a ``found_probability`` that is not above the background,
            a volume without room for the component and the other lesions, a loss that does not return one number.

    Example:
        >>> from torch.nn import BCEWithLogitsLoss
        >>> rows = gradient_audit(
        ...     BCEWithLogitsLoss(), size_voxels=8, other_lesions=1, background_probability=0.5, spatial_size=(16, 16)
        ... )
        >>> [(row.situation, row.gradient_l1, row.direction) for row in rows[1:2]]  # 8 * (1 - 0.5) / 256
        [('missed', 0.015625, 'helps')]
    """
    if not callable(loss):
        raise TypeError(f"Expected `loss` to be callable, but got {type(loss).__name__}.")
    sizes = [checked_count("size_voxels", size, 1) for size in _several("size_voxels", size_voxels)]
    others = [checked_count("other_lesions", count) for count in _several("other_lesions", other_lesions)]
    backgrounds = [
        checked_fraction("background_probability", p)
        for p in _several("background_probability", background_probability)
    ]
    found = checked_fraction("found_probability", found_probability)
    if found <= max(backgrounds):
        raise ValueError(
            f"Expected `found_probability` to be above the background's {max(backgrounds)}, but got {found}."
        )
    other_size = checked_count("other_size_voxels", other_size_voxels, 1)
    shape = tuple(checked_count("spatial_size", n, 1) for n in _several("spatial_size", spatial_size))
    if len(shape) not in (2, 3):
        raise ValueError(f"Expected `spatial_size` to have 2 or 3 numbers, but got {shape}.")
    settings = [
        setting for setting in product(SITUATIONS, sizes, others, backgrounds) if setting[:2] != ("half_found", 1)
    ]
    with torch.inference_mode(False), torch.enable_grad():
        layout = Layout(shape, max(sizes), other_size, max(others))
        return [GradientRow(*it, *_measure(loss, layout.scene(*it, found), it[0])) for it in settings]


def _several(name: str, values: object) -> tuple:
    several: tuple = ensure_tuple(values)
    if not several:
        raise ValueError(f"Expected `{name}` to have one value or more, but got none.")
    return several


def _measure(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], scene: Scene, situation: Situation
) -> tuple[float, Direction, float, float]:
    gradient = _gradient(loss, scene)
    # a step of gradient descent raises what has a negative gradient
    wanted = gradient[scene.component] if situation == "false" else -gradient[scene.component]
    norm, total = float(wanted.abs().sum()), float(gradient.abs().sum())
    if not math.isfinite(total):
        return math.nan, "undefined", math.nan, math.nan
    if norm <= _ROUNDING * total:
        return norm, "none", math.nan, norm / total if total else math.nan
    helping = float(wanted.clamp(min=0).sum()) / norm
    direction: Direction = "mixed"
    if helping > 1 - _FEW:
        direction = "helps"
    elif helping < _FEW:
        direction = "against"
    return norm, direction, helping, norm / total


def _gradient(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], scene: Scene) -> torch.Tensor:
    input = scene.input.clone().requires_grad_()
    value = loss(input, scene.target)
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"Expected `loss` to return a tensor of one number, but got {got}.")
    if not value.requires_grad:
        return torch.zeros_like(scene.input)
    (gradient,) = torch.autograd.grad(value.sum(), input, allow_unused=True)
    return torch.zeros_like(scene.input) if gradient is None else gradient
