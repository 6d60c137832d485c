"""Numbers of a report as text; ``-`` is nothing to tell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["MIN_PAIRS", "bounds_text", "interval_text", "number", "p_text", "rate_texts"]

# the smallest p value of fewer pairs is above 0.05: 2 / 2^5
MIN_PAIRS = 6


def interval_text(score: Mapping[str, Any], digits: int, signed: bool = False) -> str:
    """A mean and its interval, or why there is none.

    Example:
        >>> interval_text({"mean": 0.5, "low": math.nan, "high": math.nan, "interval": "none: too few"}, 1)
        '0.5 [too few]'
    """
    if math.isnan(score["mean"]):
        return "-"
    ends = _ends(score["low"], score["high"], score["interval"], digits, signed)
    return f"{number(score['mean'], digits, signed)} {ends}"


def rate_texts(rate: Mapping[str, Any]) -> tuple[str, str]:
    """A rate with its exact interval, and its interval by case; see ``pooled_rate``.

    Example:
        >>> from monai_instance_loss.evaluation.lesion_strata import pooled_rate
        >>> rate_texts(pooled_rate([(1, 2), (2, 2)]))
        ('0.750 [0.194, 0.994]', '[n < 10]')
    """
    if math.isnan(rate["value"]):
        return "-", "-"
    exact = f"{number(rate['value'], 3)} [{number(rate['low'], 3)}, {number(rate['high'], 3)}]"
    return exact, _ends(rate["low_by_case"], rate["high_by_case"], rate["interval_by_case"], 3)


def number(value: float, digits: int, signed: bool = False) -> str:
    """A number with so many decimals; ``-`` for NaN.

    Example:
        >>> number(0.5, 2), number(math.nan, 2)
        ('0.50', '-')
    """
    return "-" if math.isnan(value) else f"{value:{'+' if signed else ''}.{digits}f}"


def p_text(value: float, n: int) -> str:
    """A p value, or that there are too few pairs for one.

    Example:
        >>> p_text(0.0001, 30), p_text(1.0, 5)
        ('< 0.001', '[n < 6]')
    """
    if n < MIN_PAIRS:
        return f"[n < {MIN_PAIRS}]"
    return "< 0.001" if value < 0.001 else number(value, 3)


def bounds_text(low: float, high: float | None) -> str:
    """A stratum from its bounds.

    Example:
        >>> bounds_text(0, 10), bounds_text(10, None)
        ('below 10', '10 or more')
    """
    if high is None:
        return f"{low:g} or more"
    return f"{low:g} to {high:g}" if low else f"below {high:g}"


def _ends(low: float, high: float, method: str, digits: int, signed: bool = False) -> str:
    if math.isnan(low):
        return f"[{method.removeprefix('none: ')}]"
    return f"[{number(low, digits, signed)}, {number(high, digits, signed)}]"
