"""Names of scores that a metric is asked for, one or several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["checked_names"]


def checked_names(
    metric_name: Sequence[str] | str, canonical: Callable[[str], str | None], options: Iterable[str]
) -> str | tuple[str, ...]:
    """The canonical name of a score, or of each of a sequence, whatever the case and with blanks for underscores.

    Args:
        metric_name: a name or a sequence of names.
        canonical: from a name in lower case to the canonical one, None for an unknown one.
        options: the canonical names, for the error.

    Raises:
        ValueError: a name is unknown, or there is none.

    Example:
        >>> checked_names(["Hit rate", "f1"], {"hit_rate": "sensitivity", "f1": "f1"}.get, ["sensitivity", "f1"])
        ('sensitivity', 'f1')
    """

    def checked(name: Any) -> str:
        known = canonical(name.lower().replace(" ", "_")) if isinstance(name, str) else None
        if known is None:
            raise ValueError(
                f"Expected `metric_name` to be one of {list(options)} or a sequence of them, but got {name!r}."
            )
        return known

    if isinstance(metric_name, (list, tuple)) and metric_name:
        return tuple(map(checked, metric_name))
    return checked(metric_name)
