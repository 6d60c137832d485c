"""Checks of arguments shared by the data modules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real


def check_count(name: str, value: object, minimum: int) -> int:
    """Return ``value`` as an int of at least ``minimum``; a bool is refused, being a likely slip."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"Expected `{name}` to be an integer, but got {value!r} ({type(value).__name__}).")
    if int(value) < minimum:
        raise ValueError(f"Expected `{name}` to be at least {minimum}, but got {value!r}.")
    return int(value)


def check_spacing_mm(value: Sequence[float]) -> tuple[float, float, float]:
    """Return ``value`` as three voxel sizes in mm that the generator can draw lesions on."""
    wanted = "Expected `spacing_mm` to be three voxel sizes between 0.8 and 8 mm"
    if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):
        raise TypeError(f"{wanted}, but got {value!r} ({type(value).__name__}).")
    if len(value) != 3:
        raise ValueError(f"{wanted}, but got {len(value)} values: {value!r}.")
    if not all(isinstance(v, Real) and not isinstance(v, bool) for v in value):
        raise TypeError(f"{wanted}, but got {value!r}.")
    if not all(math.isfinite(v) and 0.8 <= v <= 8 for v in value):
        raise ValueError(f"{wanted}, but got {value!r}.")
    return float(value[0]), float(value[1]), float(value[2])
