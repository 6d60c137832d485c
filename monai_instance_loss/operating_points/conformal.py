"""The operating point with a guarantee: conformal risk control of the part of lesions that is missed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from monai_instance_loss._checks import checked_fraction
from monai_instance_loss.metrics.matching import Matching
from monai_instance_loss.operating_points.choosing import case_means, check_cases, told
from monai_instance_loss.operating_points.counting import point_grid, tally_points
from monai_instance_loss.operating_points.point import OperatingPoint

__all__ = ["check_alpha", "conformal_index", "conformal_operating_point"]

_THRESHOLDS = tuple(step / 100 for step in range(1, 100))


def conformal_index(losses: ArrayLike, alpha: float) -> int:
    """Index, 0 or more, of the last column with a controlled risk: (sum of its n losses + 1) / (n + 1) <= ``alpha``.

    Source: Angelopoulos, Bates, Fisch, Lei and Schuster, "Conformal Risk Control", ICLR 2024, theorem 1, with losses of
    at most B = 1. For a further case, exchangeable with the n cases, the expected loss at the column is at most
    ``alpha``; with losses that do not jump much, it is at least ``alpha`` - 2 / (n + 1). The expectation is over the n
    cases too: it holds on average over sets of cases, not for each set. It holds only if losses rise along the columns.
    Differentiable: nothing.

    Args:
        losses: (n, T), of each case at each of T settings, in [0, 1], rising (or level) along each row.
        alpha: the risk to keep to, in (0, 1).

    Returns:
        A number in 0..T - 1.

    Raises:
        TypeError: ``alpha`` is no number.
        ValueError: losses are no table of numbers in [0, 1] that rise, ``alpha`` is out of range, less than
            1 / (n + 1), or kept to by no column.

    Example:
        >>> losses = [[0.0, 0.2, 0.6], [0.0, 0.0, 0.5], [0.0, 0.1, 0.1]]
        >>> conformal_index(losses, alpha=0.4)  # (0.3 + 1) / 4 is less, (1.2 + 1) / 4 more
        1
    """
    table = np.asarray(losses, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"Expected `losses` to be (n, T), one of each or more, but got shape {table.shape}.")
    if not ((table >= 0) & (table <= 1)).all():
        raise ValueError(f"Expected `losses` to be in [0, 1], but got {table[~((table >= 0) & (table <= 1))][0]}.")
    if (np.diff(table, axis=1) < 0).any():
        raise ValueError("Expected `losses` to rise or stay level along each row, but got one that falls.")
    check_alpha(alpha, len(table))
    bound = (table.sum(0) + 1) / (len(table) + 1)
    # 1e-12: a bound that is alpha but for rounding is alpha
    kept = np.flatnonzero(bound <= alpha + 1e-12)
    if not kept.size:
        raise ValueError(
            f"Expected `alpha` to be kept to at the first setting, but got {alpha!r}, and the bound there is "
            f"{bound[0]:.4g}."
        )
    return int(kept[-1])


def check_alpha(alpha: float, cases: int) -> None:
    """Refuse a risk that so few cases cannot vouch for.

    Raises:
        TypeError: ``alpha`` is no number.
        ValueError: it is outside (0, 1) or less than 1 / (cases + 1).
    """
    checked_fraction("alpha", alpha)
    if alpha * (cases + 1) < 1 - 1e-12:
        raise ValueError(
            f"Expected `alpha` to be 1 / (cases + 1) = {1 / (cases + 1):.4g} or more for {cases} cases, but got "
            f"{alpha!r}."
        )


def conformal_operating_point(
    cases: Iterable[tuple[Any, Any]],
    alpha: float,
    *,
    matching: Matching | None = None,
    thresholds: Sequence[float] = _THRESHOLDS,
    min_volume_mm3: float = 0.0,
    connectivity: int | None = None,
    spacing_mm: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> OperatingPoint:
    """The point with the highest threshold at which a new case misses at most ``alpha`` of its lesions in expectation.

    Source: ``conformal_index``. Free of assumptions on network and lesions, but for one: cases here and new ones are
    exchangeable (same clinic, scanner and selection, none used in training). Differentiable: nothing.

    Convention: the loss of a case is the part of its lesions that is missed, in [0, 1]; a case without lesions has loss
    0 and counts, so that the promise is for cases as they come, with and without lesions. The loss has to rise with the
    threshold. It does where a lesion is found by touch, or by the part of it that one predicted instance covers: a
    lower threshold only makes instances larger, so that none falls below ``min_volume_mm3``. By IoU or one-to-one it
    may fall, as instances that grow also merge; such a matching is refused. Where even the lowest threshold breaks the
    promise there is an error, and no point.

    Args:
        cases: as in ``choose_operating_point``; n in all.
        alpha: the expected part of missed lesions, in (0, 1), 1 / (n + 1) or more.
        matching: the criterion ``"touch"`` or ``"ior"`` (part of the lesion that is covered, above ``threshold``) with
            the assignment ``"many"``; None is by touch.
        thresholds: the thresholds to choose from, rising, in (0, 1].
        min_volume_mm3: as in ``OperatingPoint``; it is not chosen.
        connectivity: as in ``OperatingPoint``.
        spacing_mm: size of a voxel along each spatial axis in mm, where a volume is given; None reads the affine of
            MetaTensors.
        ignore_index: value in ``y`` of voxels that are not scored.

    Returns:
        The point; ``chosen`` tells alpha, the bound that is at most alpha, matching, thresholds, number of cases and
        lesions, versions, and the mean scores ``in_sample``.

    Raises:
        TypeError: as in ``choose_operating_point``.
        ValueError: ``alpha`` is out of range or cannot be kept to, the loss of ``matching`` does not rise, thresholds
            do not rise, fewer than two cases have a lesion; or as in ``tally_points``.

    Example:
        >>> import numpy as np
        >>> y = np.array([[[1, 0, 0, 0, 1]]])
        >>> cases = [(np.array([[[0.9, 0.0, 0.4, 0.0, low]]]), y) for low in (0.6, 0.5, 0.4)]
        >>> point = conformal_operating_point(cases, 0.4, thresholds=(0.3, 0.5, 0.7))
        >>> point.threshold, point.chosen["bound"]  # 1 of 6 lesions is missed: (0.5 + 1) / 4
        (0.5, 0.375)
    """
    matching = Matching() if matching is None else matching
    if matching.criterion not in ("touch", "ior") or matching.assignment != "many":
        raise ValueError(
            'Expected `matching` to be "touch" or "ior" with "many", by which a lower threshold never loses a lesion, '
            f"but got {matching}."
        )
    checked_fraction("alpha", alpha)
    if (np.diff(np.asarray(thresholds, dtype=np.float64)) <= 0).any():
        raise ValueError(f"Expected `thresholds` to rise, but got {tuple(thresholds)}.")
    points = point_grid(thresholds, (min_volume_mm3,), connectivity=connectivity)
    tally = tally_points(cases, points, matching, spacing_mm, ignore_index)
    check_cases(tally.lesions)
    losses = np.nan_to_num(tally.score("missed_rate"), nan=0.0)
    best = conformal_index(losses, alpha)
    chosen = {
        **told(tally, matching, ignore_index),
        "objective": "largest threshold with a risk of alpha or less",
        "alpha": alpha,
        "bound": float((losses[:, best].sum() + 1) / (len(losses) + 1)),
        "thresholds": list(thresholds),
        "in_sample": case_means(tally, [best] * len(losses)),
    }
    return replace(points[best], chosen=chosen)
