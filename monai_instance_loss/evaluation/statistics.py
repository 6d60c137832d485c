"""Intervals and tests: by resampling cases, after Wilson, and of pairs. Needs scipy."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from monai_instance_loss._optional import import_extra

__all__ = [
    "LEVEL",
    "RESAMPLES",
    "Agreement",
    "Estimate",
    "PairedTest",
    "agreement",
    "mean_estimate",
    "paired_test",
    "ratio_estimate",
    "wilson_interval",
]

stats = import_extra("scipy.stats")

LEVEL = 0.95
RESAMPLES = 9999
# resamples are drawn in batches of about so many numbers
_BATCH = 2**22


class Estimate(NamedTuple):
    """A number and its 95 % interval; NaN where there is too little to tell.

    Attributes:
        value: the estimate.
        low: lower end of the interval.
        high: upper end.
        n: number of cases that went into it.
    """

    value: float
    low: float
    high: float
    n: int


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
        low: bias minus 1.96 standard deviations; NaN for fewer than 2 cases.
        high: bias plus 1.96 standard deviations.
        n: number of cases.
    """

    bias: float
    low: float
    high: float
    n: int


def mean_estimate(values: ArrayLike, seed: int = 0) -> Estimate:
    """Mean of the values that are not NaN, with a percentile bootstrap interval over them.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13; scipy's ``bootstrap`` with 9999
    resamples.

    Args:
        values: one number a case.
        seed: of the resampling; the same gives the same interval.

    Returns:
        The estimate; of fewer than two values there is no interval, and of none no mean.

    Example:
        >>> mean_estimate([1.0, 1.0, float("nan"), 1.0])
        Estimate(value=1.0, low=1.0, high=1.0, n=3)
    """
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    if not kept.size:
        return Estimate(math.nan, math.nan, math.nan, 0)
    return Estimate(float(kept.mean()), *_bootstrap((kept,), np.mean, seed), kept.size)


def ratio_estimate(parts: ArrayLike, wholes: ArrayLike, seed: int = 0) -> Estimate:
    """Sum of parts over sum of wholes, in [0, 1], with a percentile bootstrap interval that draws whole cases.

    Source: as ``mean_estimate``. Lesions of one patient are alike; drawing patients rather than lesions keeps that.

    Args:
        parts: for each case, for instance the number of detected lesions.
        wholes: for each case, the number of lesions; cases with 0 are left out.
        seed: as in ``mean_estimate``.

    Example:
        >>> ratio_estimate([1, 2, 0], [2, 4, 0])
        Estimate(value=0.5, low=0.5, high=0.5, n=2)
    """
    whole = np.asarray(wholes, dtype=np.float64)
    part, whole = np.asarray(parts, dtype=np.float64)[whole > 0], whole[whole > 0]
    if not whole.size:
        return Estimate(math.nan, math.nan, math.nan, 0)
    return Estimate(float(part.sum() / whole.sum()), *_bootstrap((part, whole), _ratio, seed), whole.size)


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a proportion, within [0, 1]; NaN without a trial.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953, by scipy. It takes trials for independent.

    Example:
        >>> [round(end, 3) for end in wilson_interval(5, 10)]
        [0.237, 0.763]
    """
    if trials == 0:
        return math.nan, math.nan
    interval = stats.binomtest(int(successes), int(trials)).proportion_ci(LEVEL, method="wilson")
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
        >>> [round(number, 2) for number in agreement([1, 2, 3], [1, 3, 5])]
        [1.0, -0.96, 2.96, 3]
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    if not differences.size:
        return Agreement(math.nan, math.nan, math.nan, 0)
    bias = float(differences.mean())
    reach = 1.96 * float(differences.std(ddof=1)) if differences.size > 1 else math.nan
    return Agreement(bias, bias - reach, bias + reach, differences.size)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64], axis: int = -1) -> Any:
    return part.sum(axis) / whole.sum(axis)


def _bootstrap(samples: Sequence[NDArray[np.float64]], statistic: Callable[..., Any], seed: int) -> tuple[float, float]:
    if samples[0].size < 2:
        return math.nan, math.nan
    interval = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH // samples[0].size),
        vectorized=True,
        paired=True,
        confidence_level=LEVEL,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
