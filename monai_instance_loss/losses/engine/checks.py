"""Checks of the options that losses share, with one wording."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["checked_fraction", "checked_size", "checked_weights"]


def checked_weights(weights: Mapping[str, float] | None, defaults: Mapping[str, float]) -> dict[str, float]:
    """The defaults with the given weights over them; unknown names, negative and non-finite weights are refused."""
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


def checked_fraction(name: str, value: float) -> float:
    """A number in (0, 1)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"Expected `{name}` to be a number, but got {value!r}.")
    if not 0 < value < 1:
        raise ValueError(f"Expected `{name}` to be in (0, 1), but got {value!r}.")
    return float(value)


def checked_size(name: str, value: int) -> int:
    """A whole number, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"Expected `{name}` to be an integer, but got {value!r}.")
    if value < 0:
        raise ValueError(f"Expected `{name}` to be 0 or more, but got {value}.")
    return value
