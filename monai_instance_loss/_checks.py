"""Checks of single arguments, with one wording for the whole package."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

__all__ = [
    "check_channel_first",
    "checked_choice",
    "checked_count",
    "checked_fraction",
    "checked_number",
    "checked_weights",
]


def checked_number(name: str, value: float, low: float = 0.0, high: float = math.inf, above: bool = False) -> float:
    """A finite number in [low, high], or in (low, high] where it is to be ``above``; a bool is refused.

    Raises:
        TypeError: ``value`` is no number.
        ValueError: ``value`` is not finite or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"Expected `{name}` to be a number, but got {value!r}.")
    if not (low <= value <= high and math.isfinite(value)) or (above and value == low):
        from_low = f"above {low:g}" if above else f"{low:g} or more"
        bound = f"in {'(' if above else '['}{low:g}, {high:g}]" if math.isfinite(high) else f"finite and {from_low}"
        raise ValueError(f"Expected `{name}` to be {bound}, but got {value!r}.")
    return float(value)


def checked_fraction(name: str, value: float) -> float:
    """A number in (0, 1), neither end included.

    Raises:
        TypeError: ``value`` is no number.
        ValueError: ``value`` is outside (0, 1).
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"Expected `{name}` to be a number, but got {value!r}.")
    if not 0 < value < 1:
        raise ValueError(f"Expected `{name}` to be in (0, 1), but got {value!r}.")
    return float(value)


def checked_count(name: str, value: int, minimum: int = 0) -> int:
    """A whole number of at least ``minimum``; a bool is refused.

    Raises:
        TypeError: ``value`` is no integer.
        ValueError: ``value`` is too small.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"Expected `{name}` to be an integer, but got {value!r}.")
    if value < minimum:
        raise ValueError(f"Expected `{name}` to be {minimum} or more, but got {value!r}.")
    return int(value)


def checked_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """One of a few words.

    Raises:
        ValueError: ``value`` is none of ``choices``.
    """
    if value not in choices:
        allowed = " or ".join(f'"{choice}"' for choice in choices)
        raise ValueError(f"Expected `{name}` to be {allowed}, but got {value!r}.")
    return str(value)


def check_channel_first(name: str, value: Any) -> None:
    """Refuse what is no channel-first 2D or 3D array.

    Raises:
        TypeError: ``value`` is neither a tensor nor an array.
        ValueError: it is neither (C, H, W) nor (C, H, W, D).
    """
    if not isinstance(value, (torch.Tensor, np.ndarray)):
        raise TypeError(f"Expected `{name}` to be a torch.Tensor or numpy.ndarray, but got {type(value).__name__}.")
    if value.ndim not in (3, 4):
        raise ValueError(f"Expected `{name}` to be (C, H, W) or (C, H, W, D), but got shape {tuple(value.shape)}.")


def checked_weights(weights: Mapping[str, float] | None, defaults: Mapping[str, float]) -> dict[str, float]:
    """The defaults with the given weights of terms over them.

    Raises:
        TypeError: ``weights`` is no mapping, or a weight no number.
        ValueError: an unknown name, a weight that is negative or not finite.
    """
    if weights is None:
        return dict(defaults)
    if not isinstance(weights, Mapping):
        raise TypeError(f"Expected `weights` to be a mapping from term to weight, but got {type(weights).__name__}.")
    unknown = sorted(set(map(str, weights)) - set(defaults))
    if unknown:
        raise ValueError(f"Expected `weights` to name terms of {list(defaults)}, but got {unknown}.")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise TypeError(f"Expected `weights` to hold numbers, but got {weight!r} for {name!r}.")
        if not (weight >= 0 and math.isfinite(weight)):
            raise ValueError(f"Expected `weights` to be finite and 0 or more, but got {weight!r} for {name!r}.")
    return {**defaults, **{name: float(weight) for name, weight in weights.items()}}
