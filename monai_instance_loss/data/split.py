"""Split of cases into training and validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TypeVar

import numpy as np

from monai_instance_loss._checks import checked_count

__all__ = ["split_cases"]

Case = TypeVar("Case", bound=Mapping[str, object])


def split_cases(cases: Sequence[Case], val_fraction: float = 0.25, seed: int = 0) -> tuple[list[Case], list[Case]]:
    """Split cases at random into training and validation, site by site.

    Source: stratified hold-out. The site is the folder above the case: "Amsterdam/GE3T" for
    "Amsterdam/GE3T/100". A site of two or more cases appears in both parts; with single cases only, the parts
    still each get one.

    Args:
        cases: entries with the key "case", as `find_wmh_cases` returns them.
        val_fraction: share of cases for validation, above 0 and below 1; met within each site up to rounding.
        seed: non-negative integer.

    Returns:
        Training and validation cases, each in the order of ``cases``.

    Raises:
        TypeError: when an argument has the wrong type.
        ValueError: when ``val_fraction`` is out of range, there are fewer than two cases, or a name repeats.

    Example:
        >>> train, val = split_cases([{"case": f"Utrecht/{k}"} for k in range(8)])
        >>> len(train), len(val)
        (6, 2)
    """
    _check_split(cases, val_fraction)
    checked_count("seed", seed, minimum=0)
    rng = np.random.default_rng(seed)
    by_site: dict[str, list[int]] = {}
    for index, case in enumerate(cases):
        by_site.setdefault(str(case["case"]).rpartition("/")[0], []).append(index)
    held_out: set[int] = set()
    singles: list[int] = []
    for site in sorted(by_site):
        members = by_site[site]
        if len(members) == 1:
            singles += members
        else:
            held_out.update(_draw(rng, members, val_fraction))
    # Sites of one case are pooled: splitting them one by one would put all of them on the same side.
    if len(singles) >= 2:
        held_out.update(_draw(rng, singles, val_fraction))
    train = [case for index, case in enumerate(cases) if index not in held_out]
    return train, [cases[index] for index in sorted(held_out)]


def _draw(rng: np.random.Generator, members: list[int], val_fraction: float) -> list[int]:
    n_val = min(max(round(val_fraction * len(members)), 1), len(members) - 1)
    return [int(k) for k in rng.permutation(members)[:n_val]]


def _check_split(cases: Sequence[Case], val_fraction: float) -> None:
    if isinstance(val_fraction, bool) or not isinstance(val_fraction, Real):
        raise TypeError(f"Expected `val_fraction` to be a number, but got {val_fraction!r}.")
    if not 0 < val_fraction < 1:
        raise ValueError(f"Expected `val_fraction` to be above 0 and below 1, but got {val_fraction!r}.")
    if isinstance(cases, (str, bytes, Mapping)) or not isinstance(cases, Sequence):
        raise TypeError(f"Expected `cases` to be a sequence of cases, but got {type(cases).__name__}.")
    for case in cases:
        if not isinstance(case, Mapping) or "case" not in case:
            raise TypeError(f"Expected `cases` to hold entries with the key 'case', but got {case!r}.")
    names = [str(case["case"]) for case in cases]
    if len(names) < 2:
        raise ValueError(f"Expected `cases` to hold at least 2 cases, but got {len(names)}.")
    if len(set(names)) != len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"Expected `cases` to have different names, but got {repeated} more than once.")
