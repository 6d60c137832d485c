"""Intervals and tests: by resampling cases, of proportions, and of pairs. Needs scipy."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_instance_loss._optional import import_extra

__all__ = [
    "LEVEL",
    "MIN_CASES",
    "RESAMPLES",
    "Agreement",
    "Estimate",
    "PairedTest",
    "agreement",
    "exact_interval",
    "mean_estimate",
    "paired_test",
    "ratio_estimate",
]

stats = import_extra("scipy.stats")

LEVEL = 0.95
RESAMPLES = 9999
# of fewer cases no interval is told: resampling 3 of them gives no more than the smallest and the largest
MIN_CASES = 10
# resamples are drawn in batches of about so many numbers
_BATCH = 2**22
_BCA = "BCa bootstrap over cases"
_TOO_FEW = f"none: n < {MIN_CASES}"
_NO_SPREAD = "none: all cases alike"


class Estimate(NamedTuple):
    """A number and its 95 % interval; NaN where there is too little to tell.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end.
        n: number of cases that went into it.
        interval: how the interval was made, or why there is none.
    """

    value: float
    low: float
    high: float
    n: int
    interval: str


class PairedTest(NamedTuple):
    """How two models differ on the cases that both scored.

    Attributes:
        difference: mean of second minus first, with a 95 % bootstrap interval; ``n`` is the number of pairs.
        statistic: of the Wilcoxon signed-rank test.
        p_value: two-sided, 1 where no pair differs, NaN without a pair.
    """

    difference: Estimate
    statistic: float
    p_value: float


class Agreement(NamedTuple):
    """Bland and Altman's bias and limits of agreement, in the unit of the measurements.

    Attributes:
        bias: mean difference.
        low: bias minus 1.96 standard deviations; NaN for fewer than 10 cases.
        high: bias plus 1.96 standard deviations.
        n: number of cases.
    """

    bias: float
    low: float
    high: float
    n: int


def mean_estimate(values: ArrayLike, seed: int = 0) -> Estimate:
    """Mean of the values that are not NaN, with a bias-corrected and accelerated (BCa) bootstrap interval over them.

    Source: Efron 1987, doi:10.1080/01621459.1987.10478410; scipy's ``bootstrap`` with 9999 resamples.

    Args:
        values: one number a case.
        seed: of the resampling; the same gives the same interval.

    Returns:
        The estimate. There is no interval of fewer than 10 values, nor where all are the same, as resampling what does
        not vary says nothing of the next case; of none there is no mean.

    Example:
        >>> mean_estimate([1.0, 1.0, float("nan"), 1.0])
        Estimate(value=1.0, low=nan, high=nan, n=3, interval='none: n < 10')
    """
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    if not kept.size:
        return _nothing()
    mean = float(kept.mean())
    return Estimate(mean, *_bootstrap((kept,), kept - mean, np.mean, seed))


def ratio_estimate(parts: ArrayLike, wholes: ArrayLike, seed: int = 0) -> Estimate:
    """Sum of parts over sum of wholes, in [0, 1], with a BCa bootstrap interval that draws whole cases.

    Source: as ``mean_estimate``. Lesions of one patient are alike; drawing patients rather than lesions keeps that.

    Args:
        parts: for each case, for instance the number of detected lesions.
        wholes: for each case, the number of lesions; cases with 0 are left out.
        seed: as in ``mean_estimate``.

    Returns:
        The estimate. There is no interval of fewer than 10 cases, nor where all have the same ratio.

    Example:
        >>> ratio_estimate([1, 2, 0], [2, 4, 0])
        Estimate(value=0.5, low=nan, high=nan, n=2, interval='none: n < 10')
    """
    whole = np.asarray(wholes, dtype=np.float64)
    part, whole = np.asarray(parts, dtype=np.float64)[whole > 0], whole[whole > 0]
    if not whole.size:
        return _nothing()
    ratio = float(part.sum() / whole.sum())
    return Estimate(ratio, *_bootstrap((part, whole), part / whole - ratio, _ratio, seed))


def exact_interval(successes: int, trials: int) -> tuple[float, float]:
    """Exact 95 % interval of a proportion, within [0, 1] and never of no width; NaN without a trial.

    Source: Clopper & Pearson 1934, doi:10.1093/biomet/26.4.404, by scipy. It takes trials for independent.

    Example:
        >>> [round(end, 3) for end in exact_interval(12, 12)]
        [0.735, 1.0]
    """
    if trials == 0:
        return math.nan, math.nan
    interval = stats.binomtest(int(successes), int(trials)).proportion_ci(LEVEL, method="exact")
    return float(interval.low), float(interval.high)


def paired_test(first: ArrayLike, second: ArrayLike, seed: int = 0) -> PairedTest:
    """Compare two models on the cases where neither score is NaN: mean difference, its interval, Wilcoxon's test.

    Source: Wilcoxon 1945, doi:10.2307/3001968; scipy's, which leaves out pairs without a difference. Two-sided.

    Args:
        first: one score a case.
        second: the scores of the other model on the same cases.
        seed: as in ``mean_estimate``.

    Example:
        >>> test = paired_test([0.0, 0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0, 5.0])
        >>> test.difference.value, test.statistic, test.p_value
        (3.0, 0.0, 0.0625)
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    differences = differences[~np.isnan(differences)]
    if not differences.any():
        statistic, p_value = (0.0, 1.0) if differences.size else (math.nan, math.nan)
    else:
        statistic, p_value = map(float, stats.wilcoxon(differences))
    return PairedTest(mean_estimate(differences, seed), statistic, p_value)


def agreement(first: ArrayLike, second: ArrayLike) -> Agreement:
    """Bias and 95 % limits of agreement of second minus first.

    Source: Bland & Altman 1986, doi:10.1016/S0140-6736(86)90837-8.

    Example:
        >>> [round(number, 2) for number in agreement([1] * 10, [0, 2] * 5)]
        [0.0, -2.07, 2.07, 10]
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    if not differences.size:
        return Agreement(math.nan, math.nan, math.nan, 0)
    bias = float(differences.mean())
    reach = 1.96 * float(differences.std(ddof=1)) if differences.size >= MIN_CASES else math.nan
    return Agreement(bias, bias - reach, bias + reach, differences.size)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64], axis: int = -1) -> Any:
    return part.sum(axis) / whole.sum(axis)


def _nothing() -> Estimate:
    return Estimate(math.nan, math.nan, math.nan, 0, _TOO_FEW)


def _bootstrap(
    samples: Sequence[NDArray[np.float64]], spread: NDArray[np.float64], statistic: Callable[..., Any], seed: int
) -> tuple[float, float, int, str]:
    """The interval's ends, the number of cases and the method; ``spread`` is 0 in all cases where none differs."""
    n = samples[0].size
    if n < MIN_CASES:
        return math.nan, math.nan, n, _TOO_FEW
    if np.abs(spread).max() <= 1e-9 * max(1.0, abs(statistic(*samples))):  # but for rounding
        return math.nan, math.nan, n, _NO_SPREAD
    interval = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH // n),
        vectorized=True,
        paired=True,
        confidence_level=LEVEL,
        method="BCa",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high), n, _BCA
