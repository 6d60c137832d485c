from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from monai_instance_loss.evaluation.statistics import (
    MIN_CASES,
    agreement,
    exact_interval,
    mean_estimate,
    paired_test,
    ratio_estimate,
)

NAN = math.nan


def bca(values: np.ndarray, statistic, resamples: int = 40000) -> tuple[float, float]:
    """Efron's BCa interval from its formula, with draws of its own."""
    generator = np.random.default_rng(99)
    n = len(values)
    drawn = np.array([statistic(values[generator.integers(0, n, n)]) for _ in range(resamples)])
    bias = stats.norm.ppf((drawn < statistic(values)).mean() / 2 + (drawn <= statistic(values)).mean() / 2)
    left_out = np.array([statistic(np.delete(values, k, axis=0)) for k in range(n)])
    pull = left_out.mean() - left_out
    acceleration = (pull**3).sum() / (6 * (pull**2).sum() ** 1.5)
    z = bias + stats.norm.ppf([0.025, 0.975])
    return tuple(np.quantile(drawn, stats.norm.cdf(bias + z / (1 - acceleration * z))))


def test_mean_leaves_nan_out():
    estimate = mean_estimate([1.0, NAN, *range(2, 11)])
    assert (estimate.value, estimate.n) == (5.5, 10)
    assert 1 < estimate.low < 5.5 < estimate.high < 10


def test_mean_of_skewed_values_as_by_the_formula_of_bca():
    values = np.random.default_rng(0).exponential(1, 15)
    estimate = mean_estimate(values)
    assert estimate[1:3] == pytest.approx(bca(values, np.mean), abs=0.04)  # noise of resampling
    # further to the right than to the left, as the values are
    assert estimate.high - estimate.value > 1.2 * (estimate.value - estimate.low)
    assert estimate.interval == "BCa bootstrap over cases"


def test_ratio_of_unlike_cases_as_by_the_formula_of_bca():
    generator = np.random.default_rng(1)
    wholes = generator.integers(1, 20, 14)
    parts = generator.binomial(wholes, generator.beta(2, 1, 14))
    estimate = ratio_estimate(parts, wholes)
    pairs = np.stack([parts, wholes], 1)
    assert estimate[1:3] == pytest.approx(bca(pairs, lambda rows: rows[:, 0].sum() / rows[:, 1].sum()), abs=0.01)


@pytest.mark.parametrize("n", [1, 2, 3, MIN_CASES - 1])
def test_too_few_cases_have_no_interval(n):
    values = np.linspace(0, 1, n)
    for estimate in (mean_estimate(values), ratio_estimate(values * 10, np.full(n, 10))):
        assert estimate.n == n
        assert math.isnan(estimate.low)
        assert math.isnan(estimate.high)
        assert estimate.interval == "none: n < 10"
    assert math.isfinite(mean_estimate(np.linspace(0, 1, MIN_CASES)).low)


def test_cases_that_are_alike_have_no_interval():
    # 12 of 12, and rates of a third that differ by rounding alone
    for estimate in (
        mean_estimate([1.0] * 12),
        ratio_estimate(range(1, 13), range(1, 13)),
        ratio_estimate(range(1, 13), range(3, 39, 3)),
        mean_estimate([0.1 + 0.2, 0.3] * 6),
    ):
        assert estimate.interval == "none: all cases alike"
        assert math.isnan(estimate.low)
        assert math.isnan(estimate.high)


def test_bootstrap_covers_as_the_normal_approximation():
    values = np.random.default_rng(0).normal(5, 2, 400)
    estimate = mean_estimate(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert estimate[:3] == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), abs=0.02)


def test_the_seed_decides():
    values = np.random.default_rng(0).random(20)
    assert mean_estimate(values, seed=3) == mean_estimate(values, seed=3)
    assert mean_estimate(values, seed=3) != mean_estimate(values, seed=4)


@pytest.mark.parametrize(
    ("values", "expected"), [([], (NAN, NAN, NAN, 0)), ([NAN], (NAN, NAN, NAN, 0)), ([2.0], (2, NAN, NAN, 1))]
)
def test_too_few_for_a_mean(values, expected):
    assert mean_estimate(values)[:4] == pytest.approx(expected, nan_ok=True)


def test_ratio_leaves_cases_without_a_whole_out():
    # 2 of 2, 0 of 8 and 0 of 0: together 2 of 10, in 2 cases
    estimate = ratio_estimate([2, 0, 0], [2, 8, 0])
    assert (estimate.value, estimate.n) == (pytest.approx(0.2), 2)
    assert ratio_estimate([0], [0])[:4] == pytest.approx((NAN, NAN, NAN, 0), nan_ok=True)


def test_exact_interval_by_its_definition():
    # at the lower end 8 or more of 10 are as rare as 2.5 %, and at the upper end 8 or fewer
    low, high = exact_interval(8, 10)
    assert sum(math.comb(10, k) * low**k * (1 - low) ** (10 - k) for k in (8, 9, 10)) == pytest.approx(0.025)
    assert sum(math.comb(10, k) * high**k * (1 - high) ** (10 - k) for k in range(9)) == pytest.approx(0.025)
    # 12 of 12 with a chance of p each: p^12 = 0.025
    assert exact_interval(12, 12) == pytest.approx((0.025 ** (1 / 12), 1))
    assert exact_interval(0, 12) == pytest.approx((0, 1 - 0.025 ** (1 / 12)))
    assert exact_interval(0, 0) == pytest.approx((NAN, NAN), nan_ok=True)


def test_paired_test_by_hand():
    # differences 1, 2, 3, -4, and a pair that lacks a score: ranks 1 + 2 + 3 against 4; of 16 signs, those with a
    # smaller sum of 4 or less are {}, 1, 2, 3, 4, 1+2, 1+3 and their mirror images: 14 / 16
    test = paired_test([0, 0, 0, 4, NAN], [1, 2, 3, 0, 1])
    assert test.difference.value == pytest.approx(0.5)
    assert (test.difference.n, test.statistic, test.p_value) == (4, 4, pytest.approx(14 / 16))


def test_paired_test_without_differences():
    same = paired_test([1, 2, NAN], [1, 2, 3])
    assert (same.difference.value, same.difference.n, same.p_value) == (0, 2, 1)
    assert math.isnan(paired_test([], []).p_value)


def test_agreement():
    # differences 1 and 3, five times each: the squares of the deviations sum to 10, over n - 1 = 9
    reach = 1.96 * math.sqrt(10 / 9)
    assert tuple(agreement([1] * 10, [2, 4] * 5)) == pytest.approx((2, 2 - reach, 2 + reach, 10))
    # a standard deviation of three is no limit
    assert tuple(agreement([1, 1, 1], [2, 3, 4])) == pytest.approx((2, NAN, NAN, 3), nan_ok=True)
    assert tuple(agreement([], [])) == pytest.approx((NAN, NAN, NAN, 0), nan_ok=True)
