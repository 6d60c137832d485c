"""Checks of the numbers that criteria are configured with."""

from __future__ import annotations

import math

__all__ = ["checked_number"]


def checked_number(name: str, value: float, low: float = 0.0, high: float = math.inf) -> float:
    """A finite number in [low, high].

    Raises:
        TypeError: ``value`` is no number.
        ValueError: ``value`` is not finite or outside [low, high].
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"Expected `{name}` to be a number, but got {value!r}.")
    if not (low <= value <= high and math.isfinite(value)):
        bound = f"in [{low:g}, {high:g}]" if math.isfinite(high) else f"finite and {low:g} or more"
        raise ValueError(f"Expected `{name}` to be {bound}, but got {value!r}.")
    return float(value)
